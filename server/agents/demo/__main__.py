"""Start the demo agent on stdin and stdout: `python -P -m server.agents.demo`."""

import asyncio
import os
import signal
from typing import cast

from acp import Agent, run_agent

from server.agents.demo.agent import DemoAgent

_OURS = ("PYTHONPATH", "PYTHONNOUSERSITE", "DEMO_AGENT_DELAY_SECONDS")


async def _serve(delay_seconds: float) -> None:
    serving = asyncio.ensure_future(run_agent(cast(Agent, DemoAgent(delay_seconds))))
    # A running command is in a group of its own: on SIGTERM it has to be ended by us.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    await asyncio.wait({serving})


def main() -> None:
    """Serve until stdin ends or SIGTERM comes."""
    delay_seconds = float(os.environ.get("DEMO_AGENT_DELAY_SECONDS") or 0.06)
    # What makes us start must not change the programs that we run.
    for name in _OURS:
        os.environ.pop(name, None)
    asyncio.run(_serve(delay_seconds))


if __name__ == "__main__":
    main()
