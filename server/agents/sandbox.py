"""The sandbox around an agent: bubblewrap with a process namespace and little more than the agent's own folders."""

import asyncio
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from streams.errors import AgentFailed

Policy = Literal["require", "prefer", "off"]
Kind = Literal["bubblewrap", "none"]

INSTALL = "apt-get install bubblewrap"
SETTING = "MISSIONSTREAM_AGENT_SANDBOX"

_PROGRAM = "bwrap"
_PROBE_SECONDS = 10
_SYSTEM = ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SECRETS = ("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-")
# Only one process namespace dies as a whole; the others keep the agent from talking to processes outside of it.
_NAMESPACES = ("--unshare-pid", "--unshare-ipc", "--die-with-parent")
_FRESH = ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--dir", "/run")  # noqa: S108
# Root keeps what package managers and archives need on the agent's own files, and nothing that reaches out of it.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")

log = structlog.get_logger()


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """How agents are shut in.

    With `require` no agent starts without a working bubblewrap, with `prefer` it starts without one, with `off` it
    always does. `path` is where bubblewrap is looked for. `hidden` folders are absent also where a folder around them
    is shown; `readable` ones are shown beside the system's and the agent's own.
    """

    policy: Policy = "off"
    path: str = ""
    hidden: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()

    async def program(self) -> str | None:
        """The bubblewrap to start agents with; None to start them without. AgentFailed where one is required."""
        if self.policy == "off":
            return None
        program, fault = await asyncio.to_thread(self.look)
        if fault is not None and self.policy == "require":
            raise AgentFailed(
                f"The agent was not started: {SETTING}=require asks for a sandbox, and {fault}. "
                f"Install it on the server ({INSTALL}), or set {SETTING} to prefer or off."
            )
        return program

    def look(self) -> tuple[str | None, str | None]:
        """The working bubblewrap, else why there is none. The first look really starts it; later ones remember."""
        found = shutil.which(_PROGRAM, path=self.path)
        if found is None:
            return None, "bubblewrap is not installed"
        fault = _fault(found)
        return (found, None) if fault is None else (None, f"bubblewrap does not work here: {fault}")


@functools.cache
def _fault(program: str) -> str | None:
    """Why this bubblewrap cannot be used; None when it could run a program in all that agents get."""
    command = [program, *_options(), *_system(), *_FRESH, "--", "true"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    else:
        if done.returncode == 0:
            return None
        fault = done.stderr.decode(errors="replace").strip()[:300] or f"exit code {done.returncode}"
    log.warning("sandbox.unusable", program=program, fault=fault)
    return fault


def wrapped(
    program: str,
    command: Sequence[str],
    *,
    space: Path,
    home: Path,
    readable: Sequence[Path],
    hidden: Sequence[Path],
    options: Sequence[str] = (),
) -> list[str]:
    """The command line that runs `command` in its space, inside bubblewrap.

    Space and home can be written; `readable` and the system can be read; everything else of the disk is absent, and
    `hidden` folders also where one of those is around them. The network stays. `options` are given to bubblewrap.
    """
    space, home = space.absolute(), home.absolute()
    mounts: dict[Path, tuple[str, ...]] = {
        path: ("--ro-bind", str(path), str(path)) for path in readable if path.exists() and not _is_shown(path, hidden)
    }
    mounts |= {path: ("--tmpfs", str(path)) for folder in hidden for path in (folder.absolute(), folder.resolve())}
    mounts |= {path: ("--bind", str(path), str(path)) for path in (space, home)}
    # What lies deeper comes later: so it stays visible in what is around it.
    ordered = sorted(mounts, key=lambda path: len(path.parts))
    line = [program, *options, *_options(), *_system(), *_FRESH, *(word for path in ordered for word in mounts[path])]
    return [*line, "--chdir", str(space), "--", *command]


def _is_shown(path: Path, hidden: Sequence[Path]) -> bool:
    """Whether the system's folders hold the path already."""
    return any(path.is_relative_to(top) for top in _SYSTEM) and not any(path.is_relative_to(top) for top in hidden)


def _options() -> Iterator[str]:
    yield from _NAMESPACES
    if os.geteuid() == 0:
        yield from ("--cap-drop", "ALL")
        for name in _CAPABILITIES:
            yield from ("--cap-add", f"CAP_{name}")


def _system() -> Iterator[str]:
    """The system's folders, read-only, as they are here: also where some are links to others."""
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    for name in _SECRETS:
        if Path(name).exists():
            yield from ("--ro-bind", "/dev/null", name)
    # It is often a link to what a resolver keeps elsewhere.
    resolver = Path("/etc/resolv.conf").resolve()
    if resolver.exists() and not resolver.is_relative_to("/etc"):
        yield from ("--ro-bind", str(resolver), str(resolver))
