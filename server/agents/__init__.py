"""Agents: runs of ACP agent processes, and the demo agent."""
