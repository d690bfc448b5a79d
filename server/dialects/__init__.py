"""The public mission APIs, a folder each; they know the core, never each other."""
