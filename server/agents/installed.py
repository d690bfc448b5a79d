"""What is known of a backend on this machine without starting it: its program, its version, whether it has a key."""

import json
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from server.agents.backends import profile_of
from server.agents.content import as_object, as_text
from server.agents.profiles import command_for

_MAX_LEVELS = 6
_MAX_BYTES = 256 << 10


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """`program` is where the command was found, None where it was not; `version` None where it cannot be told cheaply.

    `node` is the range of Node's versions that its package asks for. `keys` names the variables that may hold a key, any of which is enough; the keys themselves are nowhere here.
    """

    program: str | None
    version: str | None
    node: str | None
    keys: tuple[str, ...]
    has_key: bool


def installed(backend: str, env: Mapping[str, str]) -> Installed:
    """Look at one backend, as the environment sets it. BadRequest if unknown, Unavailable for a broken setting."""
    profile = profile_of(backend)
    program = shutil.which(command_for(backend, env)[0], path=env.get("PATH"))
    is_ours = backend == "demo"
    manifest = {} if program is None or is_ours else _manifest(Path(program))
    return Installed(
        program=program,
        version=_own_version() if is_ours else _text(manifest.get("version")),
        node=_text(as_object(manifest.get("engines")).get("node")),
        keys=profile.keys,
        has_key=not profile.keys or any(env.get(name, "").strip() for name in profile.keys),
    )


def _own_version() -> str | None:
    try:
        return metadata.version("missionstream")
    except metadata.PackageNotFoundError:
        return None


def _manifest(program: Path) -> dict[str, Any]:
    """The manifest of the npm package that a program, or what it links to, lies in; empty where there is none."""
    try:
        folders = program.resolve(strict=True).parents
    except OSError:
        return {}
    for folder in list(folders)[:_MAX_LEVELS]:
        manifest = folder / "package.json"
        try:
            if manifest.stat().st_size > _MAX_BYTES:
                return {}
            fields = as_object(json.loads(manifest.read_bytes()))
        except OSError:
            continue
        except ValueError:
            return {}
        if as_text(fields.get("name")) and as_text(fields.get("version")):
            return fields
    return {}


def _text(value: Any) -> str | None:
    return as_text(value)[:40] or None
