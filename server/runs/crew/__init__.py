"""The crew engine: what is done next on a crew mission, what its agents are told, and what their words lead to."""
