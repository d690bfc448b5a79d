"""Crew: teams of agents that work missions as graphs of tasks, as Crewship's public API speaks of them."""
