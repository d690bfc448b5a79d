"""The demo agent: a small deterministic ACP agent that really reads files and runs commands in its space."""
