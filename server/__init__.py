"""The Missionstream server: its rules, its agents and the HTTP faces."""
