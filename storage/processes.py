"""What the operating system tells about running processes."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that ran when it was looked at; a zombie is not one.

    `executable` and `folder` (its working directory) are None where the kernel does not show them, as to a container's
    root without CAP_SYS_PTRACE; `name` and `command` (its arguments, or the title that it set) are always known.
    """

    pid: int
    uid: int
    name: str
    command: str
    executable: str | None = None
    folder: str | None = None


def process(pid: int) -> Process | None:
    """The process with this pid, or None when there is none (any more)."""
    if not _has_proc():
        return next((found for found in _from_ps() if found.pid == pid), None)
    return _from_proc(_PROC / str(pid))


def processes() -> Iterator[Process]:
    """Every process that can be seen from here."""
    if not _has_proc():
        yield from _from_ps()
        return
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (found := _from_proc(folder)):
            yield found


def _has_proc() -> bool:
    return (_PROC / "self" / "cmdline").exists()


def _from_proc(folder: Path) -> Process | None:
    try:
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").strip()
        if not command:  # a zombie, or a thread of the kernel
            return None
        name = (folder / "comm").read_text().strip()
        uid = folder.stat().st_uid
        executable, at = _link(folder / "exe"), _link(folder / "cwd")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(int(folder.name), uid, name, os.fsdecode(command), executable, at)


def _link(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except PermissionError:
        return None


def _from_ps() -> Iterator[Process]:
    """Where there is no /proc (macOS), `ps` shows less but enough."""
    listing = subprocess.run(
        ["ps", "-axwwo", "pid=,uid=,stat=,args="], capture_output=True, text=True, errors="replace", check=True
    )
    for line in listing.stdout.splitlines():
        pid, uid, state, command = line.split(None, 3) if line.count(" ") else ("0", "0", "Z", "")
        if not state.startswith("Z"):
            name = Path(command.split(" ", 1)[0].rstrip(":")).name
            yield Process(int(pid), int(uid), name, command)
