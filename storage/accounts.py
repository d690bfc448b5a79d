"""The operating system's user that PostgreSQL runs as, and where it can get to."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOR_ROOT = ("postgres", "nobody")
_READ, _ENTER = 4, 1


@dataclass(frozen=True)
class Account:
    """A user with its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    @property
    def process_options(self) -> dict[str, Any]:
        """What subprocess must be told to start a process as this user."""
        if self.is_ours:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups}

    def may_enter(self, folder: Path) -> bool:
        """Whether the modes of this folder let the user pass through it."""
        return self._may(folder, _ENTER)

    def may_read(self, path: Path) -> bool:
        """Whether the modes of this path, and of every folder above it, let the user read it (and run a program)."""
        path = path.resolve()
        wanted = _READ | _ENTER if path.stat().st_mode & 0o100 else _READ
        return self._may(path, wanted) and self.barrier(path) is None

    def barrier(self, path: Path) -> Path | None:
        """The topmost existing folder above a resolved path that the user cannot pass, or None."""
        above = [folder for folder in reversed(path.parents) if folder.exists()]
        return next((folder for folder in above if not self.may_enter(folder)), None)

    def _may(self, path: Path, wanted: int) -> bool:
        if self.is_ours:
            return os.access(path, wanted)
        status = path.stat()
        if status.st_uid == self.uid:
            granted = status.st_mode >> 6
        elif status.st_gid in (self.gid, *self.groups):
            granted = status.st_mode >> 3
        else:
            granted = status.st_mode
        return granted & wanted == wanted

    def give(self, path: Path) -> None:
        """Make the user the owner of one path (nothing to do when the user is ourselves)."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def of_uid(uid: int) -> Account | None:
    """The account with this user id; None when the system has no name for it, which PostgreSQL needs."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return Account(entry.pw_name, uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def for_root() -> Account | None:
    """Whom root lets PostgreSQL, which refuses to run as root, run as; None when the system has no such user."""
    for name in _FOR_ROOT:
        try:
            return of_uid(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    return None
