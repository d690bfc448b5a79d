"""Processes that outlived the turn or the server that started them: found by a mark in their environment, and killed."""

import asyncio
import os
import select
import signal
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

RUN_MARKER = "MISSIONSTREAM_RUN_ID"
OWNER_MARKER = "MISSIONSTREAM_RUN_OWNER"

_MAX_SWEEPS = 20
_DEATH_MILLISECONDS = 1000
_OWNER_SLASHES = 3


async def sweep(run_ids: Collection[str]) -> int:
    """Kill every process that carries one of these runs' markers, wherever it moved; returns how many."""
    marks = frozenset(f"{RUN_MARKER}={run_id}".encode() for run_id in run_ids)
    return await asyncio.to_thread(_sweep, lambda environ: not marks.isdisjoint(environ)) if marks else 0


async def sweep_left(is_dead: Callable[[str], bool]) -> int:
    """Kill every process of a server that is dead, by the owner's name in its environment; returns how many."""
    mark = f"{OWNER_MARKER}=".encode()

    def is_left(environ: Sequence[bytes]) -> bool:
        owners = [entry[len(mark) :].decode(errors="replace") for entry in environ if entry.startswith(mark)]
        return any(owner.count("/") >= _OWNER_SLASHES and is_dead(owner) for owner in owners)

    return await asyncio.to_thread(_sweep, is_left)


def _sweep(is_marked: Callable[[Sequence[bytes]], bool]) -> int:
    killed: set[int] = set()
    # A process may fork while we look: look again until nothing new is found.
    for _ in range(_MAX_SWEEPS):
        pids = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - killed - {os.getpid()}
        found = {pid for pid in pids if _kill_if_marked(pid, is_marked)}
        killed |= found
        if not found:
            break
    return len(killed)


def _kill_if_marked(pid: int, is_marked: Callable[[Sequence[bytes]], bool]) -> bool:
    try:
        # The handle keeps the number from meaning another process between the look and the kill.
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        if not is_marked(environ.split(b"\0")):
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
