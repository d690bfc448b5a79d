"""Crews and their agents: what they may look like, and how they change."""
