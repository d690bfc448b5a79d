"""Who owns a run: this very process, named so that another start on the same host can tell that it is dead."""

import os
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "-"


def _started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks; None where there is none, "-" where the kernel does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else "-"
    except OSError:
        return "-"
    return stat.rpartition(")")[2].split()[19]


def this_process() -> str:
    """The name of this process as an owner: host, boot, pid and start."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{_boot()}/{pid}/{_started(pid)}"


def is_dead(owner: str) -> bool:
    """Whether the owner surely lives no more; False for owners on other hosts, whose leases must expire."""
    host, boot, pid, started = owner.rsplit("/", 3)
    if host != socket.gethostname():
        return False
    if boot != _boot():
        return True
    now = _started(int(pid))
    return now is None or now != started
