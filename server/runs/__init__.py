"""Turns of agents on missions: who owns each, where its updates go, and what a crash leaves to be done."""
