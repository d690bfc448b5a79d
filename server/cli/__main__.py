"""`python -P -m server.cli`: the same as `missionstream`."""

import sys

from server.cli import main

sys.exit(main())
