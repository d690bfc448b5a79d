"""What is known of a backend on this machine without starting it: its program, its version, whether it has a key."""

import json
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import msgspec

from server.agents.backends import profile_of
from server.agents.profiles import command_for

_MAX_LEVELS = 6
_MAX_BYTES = 256 << 10


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """`program` is where the command was found, None where it was not; `version` None where it cannot be told cheaply.

    `keys` names the variables that may hold a key, any of which is enough; the keys themselves are nowhere here.
    """

    program: str | None
    version: str | None
    keys: tuple[str, ...]
    has_key: bool


def installed(backend: str, env: Mapping[str, str]) -> Installed:
    """Look at one backend, as the environment sets it. BadRequest if unknown, Unavailable for a broken setting."""
    profile = profile_of(backend)
    program = shutil.which(command_for(backend, env)[0], path=env.get("PATH"))
    version = None
    if program is not None:
        version = _own_version() if backend == "demo" else _package_version(Path(program))
    return Installed(
        program=program,
        version=version,
        keys=profile.keys,
        has_key=not profile.keys or any(env.get(name, "").strip() for name in profile.keys),
    )


def _own_version() -> str | None:
    try:
        return metadata.version("missionstream")
    except metadata.PackageNotFoundError:
        return None


def _package_version(program: Path) -> str | None:
    """The version of the npm package that a program, or what it links to, lies in."""
    try:
        folders = program.resolve(strict=True).parents
    except OSError:
        return None
    for folder in list(folders)[:_MAX_LEVELS]:
        manifest = folder / "package.json"
        try:
            if manifest.stat().st_size > _MAX_BYTES:
                return None
            fields = json.loads(manifest.read_bytes())
        except OSError:
            continue
        except ValueError:
            return None
        version = fields.get("version") if isinstance(fields, dict) else None
        if isinstance(version, str) and isinstance(fields.get("name"), str):
            return version[:40]
    return None
