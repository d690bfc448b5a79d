"""Crew missions, task graphs worked by a crew of agents: the rules as the writer and the dialects use them."""
