"""Processes that outlived the turn or the server that started them: found by a mark in their environment, and killed."""

import asyncio
import os
import select
import signal
from collections.abc import Collection
from pathlib import Path

RUN_MARKER = "MISSIONSTREAM_RUN_ID"

_MAX_SWEEPS = 20
_DEATH_MILLISECONDS = 1000


async def sweep(run_ids: Collection[str]) -> int:
    """Kill every process that carries one of these runs' markers, wherever it moved; returns how many."""
    marks = frozenset(f"{RUN_MARKER}={run_id}".encode() for run_id in run_ids)
    return await asyncio.to_thread(_sweep, marks) if marks else 0


def _sweep(marks: frozenset[bytes]) -> int:
    killed: set[int] = set()
    # A process may fork while we look: look again until nothing new is found.
    for _ in range(_MAX_SWEEPS):
        pids = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - killed - {os.getpid()}
        found = {pid for pid in pids if _kill_if_marked(pid, marks)}
        killed |= found
        if not found:
            break
    return len(killed)


def _kill_if_marked(pid: int, marks: frozenset[bytes]) -> bool:
    try:
        # The handle keeps the number from meaning another process between the look and the kill.
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        if marks.isdisjoint(environ.split(b"\0")):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        dying = select.poll()
        dying.register(handle, select.POLLIN)
        dying.poll(_DEATH_MILLISECONDS)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def group_of(leader: int) -> set[int]:
    """The living processes of a process group."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[2]) == leader:
                found.add(int(entry))
    return found
