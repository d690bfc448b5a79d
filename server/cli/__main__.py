"""`python -P -m server.cli`: the same as `missionstream`."""

from server.cli import main

main()
