"""An MCP server of Missionstream: agents report progress, keep tasks and read their mission over stdio."""
