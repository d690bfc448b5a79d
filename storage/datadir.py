"""The data directory: its layout, its owner, its lock and the database's password."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from storage import accounts
from storage.accounts import Account
from streams.errors import Conflict

PORT = 5432
_SOCKET_BYTES = 107 if os.uname().sysname == "Linux" else 103
_OTHER = "Name another directory with --data-dir"


class DataDirectoryUnusable(Conflict):
    """The data directory cannot hold the database; name another one with --data-dir."""

    code = "data_directory_unusable"


class DataDirectoryInUse(Conflict):
    """Another server uses this data directory; stop it first, or name another one with --data-dir."""

    code = "data_directory_in_use"

    def __init__(self, top: Path, holder: str) -> None:
        super().__init__(
            f"{top} is in use by process {holder}; stop it first, or name another directory with --data-dir.",
            holder=holder,
        )
        self.holder = holder


class NoDatabase(Conflict):
    """There is no database in this data directory; start the server once, or name another one with --data-dir."""

    code = "no_database"


class Lock:
    """Held from the moment that it is made until release(), or until this process ends in any way."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise DataDirectoryInUse(path.parent, holder) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let the next one in. The file stays: removing it would let two processes hold two locks."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


class DataDirectory:
    """Everything the embedded database keeps, below one folder; nothing outside of it is ever changed.

    `postgres/` (the cluster) and `run/` (the socket) belong to the account that PostgreSQL runs as; the rest to us.
    """

    def __init__(self, top: Path) -> None:
        self.top = top.expanduser().resolve()
        self.cluster = self.top / "postgres"
        self.run = self.top / "run"
        self.log = self.top / "postgres.log"
        self.lock_file = self.top / "lock"
        self.password_file = self.top / "database-password"
        self.pid_file = self.cluster / "postmaster.pid"
        self.socket = self.run / f".s.PGSQL.{PORT}"

    @cached_property
    def account(self) -> Account:
        """Who runs PostgreSQL here: the cluster's owner, else ourselves, else (for root) an unprivileged user."""
        ourselves = os.geteuid()
        owner = self.cluster.stat().st_uid if self.has_cluster() else None
        if ourselves and owner not in (None, ourselves):
            raise DataDirectoryUnusable(
                f"{self.cluster} belongs to user id {owner} and we run as {ourselves}. "
                f"Run as its owner. {_OTHER} otherwise."
            )
        uid = owner or ourselves
        found = accounts.of_uid(uid) if uid else accounts.for_root()
        if found is None:
            raise DataDirectoryUnusable(
                f"PostgreSQL runs neither as root nor as a user without a name, and user id {uid} leaves it no other. "
                "Add a user postgres or a name for this id, run as another user, "
                "or set MISSIONSTREAM_DATABASE_URL to a PostgreSQL server."
            )
        return found

    @property
    def mark(self) -> str:
        """A name for this very cluster on this machine; PostgreSQL puts it in each of its processes' titles.

        It is never the beginning of another cluster's.
        """
        status = self.cluster.stat()
        return f"missionstream-{status.st_dev:x}-{status.st_ino:016x}"

    def prepare(self) -> None:
        """Make the folders, reachable for the account. Raises DataDirectoryUnusable."""
        self._check_socket_path()
        with self._explained():
            account = self.account
            self._check_way(account)
            self._make_top(account)
            self._check_way(account)
            self.make_folder(self.run.name)
            if self.cluster.exists() and self.cluster.stat().st_uid != account.uid:
                self._give_cluster(account)

    def make_folder(self, name: str) -> Path:
        """A folder in the directory that only PostgreSQL's account can enter."""
        folder = self.top / name
        folder.mkdir(exist_ok=True)
        self.account.give(folder)
        folder.chmod(0o700)
        return folder

    def lock(self) -> Lock:
        """Become the one server of this directory. Raises DataDirectoryInUse with the holder's pid."""
        with self._explained():
            return Lock(self.lock_file)

    def password(self) -> str:
        """The database's password. Raises DataDirectoryUnusable when the file is lost."""
        with self._explained():
            if self.password_file.exists():
                return self.password_file.read_text().strip()
        raise DataDirectoryUnusable(
            f"{self.password_file} is missing, without which the database cannot be opened. Restore it from a backup."
        )

    def ensure_password(self) -> None:
        """Make a random password unless there is one. PostgreSQL's account owns it: initdb must read it."""
        with self._explained():
            if self.password_file.exists():
                self.account.give(self.password_file)
                return
            draft = self.password_file.with_suffix(".new")
            draft.unlink(missing_ok=True)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w") as stream:
                stream.write(secrets.token_urlsafe(32) + "\n")
                stream.flush()
                os.fsync(file)
            self.account.give(draft)
            draft.rename(self.password_file)

    def has_cluster(self) -> bool:
        """Whether a database was made here."""
        with self._explained():
            return self.cluster.exists()

    def postmaster_pid(self) -> int | None:
        """The pid that PostgreSQL's own lock file names, which may be long dead; None when it names none."""
        with self._explained():
            try:
                return abs(int(self.pid_file.read_text().split("\n", 1)[0]))
            except (FileNotFoundError, ValueError):
                return None

    def remove_traces(self) -> None:
        """Forget a postmaster that is dead: a pid in these files that was given to another process prevents a start."""
        for path in (self.socket, self.socket.with_name(f"{self.socket.name}.lock"), self.pid_file):
            path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Make the names in the directory durable."""
        folder = os.open(self.top, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _check_socket_path(self) -> None:
        length = len(os.fsencode(self.socket))
        if length > _SOCKET_BYTES:
            raise DataDirectoryUnusable(
                f"The path of {self.top} is {length - _SOCKET_BYTES} bytes too long for the database's socket. "
                "Name a directory with a shorter path with --data-dir."
            )

    def _check_way(self, account: Account) -> None:
        barrier = account.barrier(self.top)
        if barrier and not account.is_ours:
            raise DataDirectoryUnusable(
                f"PostgreSQL runs as user {account.name}, who cannot enter {barrier} "
                f"(mode {barrier.stat().st_mode & 0o777:04o}). {_OTHER} that this user can reach, "
                "such as /var/lib/missionstream."
            )

    def _make_top(self, account: Account) -> None:
        if not self.top.exists():
            self.top.mkdir(parents=True)
            self.top.chmod(0o700 if account.is_ours else 0o711)
        if account.may_enter(self.top):
            return
        is_known = self.lock_file.exists() or not any(self.top.iterdir())
        if not is_known:  # a home, say, given by mistake: its mode is not ours to widen
            raise DataDirectoryUnusable(
                f"PostgreSQL runs as user {account.name}, who cannot enter {self.top}, which holds other files too. "
                f"{_OTHER}, or allow it: chmod o+x {self.top}"
            )
        self.top.chmod(self.top.stat().st_mode & 0o777 | 0o011)

    def _give_cluster(self, account: Account) -> None:
        """A cluster that root restored from a backup belongs to root, and PostgreSQL would refuse it."""
        for folder, _, files in os.walk(self.cluster):
            account.give(Path(folder))
            for name in files:
                account.give(Path(folder, name))
        self.cluster.chmod(0o700)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The data directory {self.top} cannot be used: {error.strerror} ({error.filename}). {_OTHER}."
            ) from error
