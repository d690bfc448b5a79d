"""What the demo does, step by step."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import aiohttp

from missionstream_client import Client, Event, Timing
from server.cli.child import ChildServer, ServerFailed, command, environment
from server.cli.output import Output
from server.cli.stage import Stage
from server.cli.tables import table
from server.cli.witnesses import Account, Witness, whole_log

STEPS = 6
_TURN_SECONDS = 30.0
_CATCH_UP_SECONDS = 10.0
_MID_STREAM_CHARACTERS = 240  # more than a second of speech: partial text is stored once a second
_FILES = {
    "README.md": "# Harbour watch\n\nWhat the night shift must know.\n",
    "shifts.csv": "name,from,to\nAmina,22:00,06:00\nJonas,06:00,14:00\nMei,14:00,22:00\n",
    "tides.txt": "03:12 high 4.1 m\n09:25 low 0.7 m\n15:40 high 4.3 m\n21:51 low 0.6 m\n",
}
_FIRST = "Please look around in this space and tell me what you find."
_SECOND = (
    "run wc -l README.md shifts.csv tides.txt\nrun sort -t, -k2 shifts.csv | head -n 1\n"
    "say The three files are as they were. Jonas has the early shift, from six."
)


class Demonstration:
    """One showing in a data directory; run() is the whole of it."""

    def __init__(self, folder: Path, output: Output) -> None:
        self._output = output
        self._stage = Stage(output.notes if output.is_json else output.data, steps=STEPS, counts=self._counts)
        self._server = ChildServer(folder)
        self._witnesses: list[Witness] = []
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for witness in self._witnesses:
            await witness.close()
        if self._client is not None:
            await self._client.aclose()
        await self._server.close()

    async def run(self) -> bool:
        """Show everything; True when each follower got exactly what the log has, and the log is whole."""
        self._stage.tell(
            "Missionstream: a real server, a real agent process, three followers, and one SIGKILL.", "bold"
        )
        await self._start()
        mission_id = await self._prepare()
        with self._stage.live():
            await self._first_turn(mission_id)
            await self._kill_and_restart()
            await self._second_turn(mission_id)
        return await self._prove(mission_id)

    # the steps

    async def _start(self) -> None:
        self._stage.begin("A server of its own", f"with a PostgreSQL of its own, in {self._server.data_dir}")
        began = time.monotonic()
        with self._stage.waiting("Making the database and starting the server …"):
            await self._server.start()
        self._stage.note(
            f"Ready at {self._server.url} after {time.monotonic() - began:.1f} s, as process {self._server.pid}."
        )
        timing = Timing(base_seconds=0.2, cap_seconds=1.0, poll_wait_seconds=5.0)
        self._client = await Client(self._server.url, self._server.token(), timing=timing).__aenter__()

    async def _prepare(self) -> str:
        assert self._client is not None
        self._stage.begin("A space and a mission", "a folder with three small files, and an agent that may work in it")
        space = await self._make_space()
        for name, text in _FILES.items():
            await asyncio.to_thread((space[1] / name).write_text, text, "utf-8")
        mission = await self._client.create_mission("Look around the harbour", backend="demo", workspace_id=space[0])
        self._stage.note(f"Mission {mission.id} on {', '.join(_FILES)}.")
        return mission.id

    async def _make_space(self) -> tuple[str, Path]:
        """A space over HTTP: its id and its folder, which is there once it is made."""
        body = {"name": f"harbour {uuid4().hex[:6]}"}
        headers = {"Authorization": f"Bearer {self._server.token()}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{self._server.url}/api/workspaces", json=body) as answer,
        ):
            if answer.status != 200:
                raise ServerFailed(f"no space could be made: {await answer.text()}")
            made = await answer.json()
        folder = Path(made["path"])
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        return made["id"], folder

    async def _first_turn(self, mission_id: str) -> None:
        assert self._client is not None
        self._stage.begin("One message", f'"{_FIRST}"')
        self._stage.note(
            "Three followers from the mission's first event; you see what SSE gets, the others count along."
        )
        self._witnesses = [
            Witness(self._client, mission_id, "sse", on_event=self._stage.event, on_signal=self._stage.signal),
            Witness(self._client, mission_id, "ws"),
            Witness(self._client, mission_id, "poll"),
        ]
        await self._client.send(mission_id, _FIRST)
        await self._main.until(
            lambda w: len(self._stage.saying) >= _MID_STREAM_CHARACTERS or _is_over(w), _TURN_SECONDS
        )

    async def _kill_and_restart(self) -> None:
        before, was_over = len(self._main.seen), _is_over(self._main)
        self._stage.cut_off()
        pid = self._server.pid
        await self._server.kill()
        self._stage.begin("SIGKILL", f"the server (process {pid}) dies in the middle of the agent's sentence")
        began = time.monotonic()
        with self._stage.waiting("Starting a new server on the same data …"):
            await self._server.start()
        self._stage.note(f"A new server, process {self._server.pid}, is up after {time.monotonic() - began:.1f} s.")
        await self._all(lambda witness: _is_over(witness) and (was_over or len(witness.seen) > before))
        self._stage.note(
            "All three came back by themselves. The log kept the turn that was cut off, up to its last second."
        )

    async def _second_turn(self, mission_id: str) -> None:
        assert self._client is not None
        self._stage.begin("One more message", "the mission goes on; the demo agent takes one instruction per line")
        before = self._main.last
        await self._client.send(mission_id, _SECOND)
        await self._main.until(lambda witness: witness.last > before + 2 and _is_over(witness), _TURN_SECONDS)
        last = self._main.last
        await self._all(lambda witness: witness.last >= last)

    async def _prove(self, mission_id: str) -> bool:
        assert self._client is not None
        self._stage.begin("The proof", "what each follower was given, beside the log")
        log = await whole_log(self._client, mission_id)
        accounts = [witness.account(log) for witness in self._witnesses]
        with self._stage.waiting("Verifying the whole log …"):
            verified = await self._verify()
        self._show_proof(log, accounts, verified)
        is_clean = all(account.is_clean for account in accounts) and verified["findings"] == 0
        if self._output.is_json:
            rows = [account._asdict() for account in accounts]
            self._output.value(
                {
                    "mission_id": mission_id,
                    "log_events": len(log),
                    "followers": rows,
                    "verify": verified,
                    "ok": is_clean,
                }
            )
        return is_clean

    async def _verify(self) -> dict[str, int]:
        process = await asyncio.create_subprocess_exec(
            *command("verify", "--json", "--data-dir", str(self._server.data_dir)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
        stdout, stderr = await process.communicate()
        lines = stdout.splitlines()
        if not lines:
            raise ServerFailed(f"verify failed: {stderr.decode(errors='replace').strip()}")
        sums: dict[str, int] = json.loads(lines[-1])
        return sums

    # saying so

    def farewell(self, *, is_kept: bool) -> None:
        """Where to go from here."""
        self._stage.tell("\nNext:", "bold")
        if is_kept:
            where, token_file = self._server.url, self._server.token_file
            self._stage.tell(f"  The server stays up at {where} until Ctrl-C.")
            follow = f"{program()} tail --url {where} --data-dir {self._server.data_dir}"
        else:
            from server.settings import default_data_dir

            where, token_file = "http://127.0.0.1:8080", default_data_dir() / "owner-token"
            self._stage.tell(f"  {program()} serve          # your own server, at {where}")
            follow = f"{program()} tail           # every event of it, live"
        self._stage.tell(f"  {follow}")
        self._stage.tell(f'  curl -N -H "Authorization: Bearer $(cat {token_file})" {where}/api/control/stream')

    def _show_proof(self, log: list[Event], accounts: list[Account], verified: dict[str, int]) -> None:
        rows = [
            (row.transport, row.events, row.gaps, row.duplicates, row.reconnects, "yes" if row.is_same_as_log else "NO")
            for row in accounts
        ]
        columns = ("transport", "events", "gaps", "duplicates", "reconnects", "same as the log")
        self._stage.console.print(table(columns, rows))
        self._stage.note(
            f"The log has {len(log)} events of this mission, numbered 1 to {log[-1].sequence if log else 0}."
        )
        self._stage.note(f"`missionstream verify`: {verified['streams']} streams, {verified['findings']} findings.")
        if all(row.is_clean for row in accounts) and not verified["findings"]:
            self._stage.tell("\nNothing was lost, nothing came twice.", "bold green")
        else:
            self._stage.tell("\nSomething was lost or came twice: this is a bug.", "bold red")

    # waiting

    @property
    def _main(self) -> Witness:
        return self._witnesses[0]

    async def _all(self, is_true: Callable[[Witness], bool]) -> None:
        """Wait until something holds for each follower, but not for ever: the proof tells who is behind."""
        await asyncio.gather(*(witness.until(is_true, _CATCH_UP_SECONDS) for witness in self._witnesses))
        self._stage.sum_up()

    def _counts(self) -> str:
        return "   ".join(f"{witness.label} {len(witness.seen)}" for witness in self._witnesses)


def program() -> str:
    """How to call us again: by name where the PATH has it, else as we were called."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "missionstream" and shutil.which("missionstream") is None else "missionstream"


def _is_over(witness: Witness) -> bool:
    """Whether the mission's last known status is one of rest."""
    statuses = [e.metadata.get("status") for e in witness.seen if e.event_type == "mission_status_changed"]
    return bool(statuses) and statuses[-1] != "active"
