"""What `doctor` finds of the backends: program and version, Node, key, and whether the agent answers."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from server.agents.backends import PROFILES, Profile
from server.agents.greeting import greet
from server.agents.installed import Installed, installed
from server.agents.profiles import command_for, default_backend, launch_for
from server.cli.checks import Check
from streams.errors import AgentFailed, MissionstreamError

_NODE_SECONDS = 10


async def backend_checks(env: Mapping[str, str]) -> list[Check]:
    """Every backend, in the table's order, and the default one; the agents are asked at the same time."""
    found = await asyncio.gather(*(_of(profile, env) for profile in PROFILES.values()))
    return [*(check for checks in found for check in checks), _default(env)]


def _default(env: Mapping[str, str]) -> Check:
    try:
        return Check("default backend", "ok", default_backend(env))
    except MissionstreamError as error:
        return Check("default backend", "wrong", error.message, "Set MISSIONSTREAM_DEFAULT_BACKEND to one of them.")


async def _of(profile: Profile, env: Mapping[str, str]) -> list[Check]:
    name = f"backend {profile.id}"
    try:
        found = await asyncio.to_thread(installed, profile.id, env)
    except MissionstreamError as error:
        return [Check(name, "missing", error.message, "Correct the variable.")]
    if found.program is None:
        return [Check(name, "missing", f"{profile.command[0]} is not on the PATH", profile.install)]
    version = f"{found.version} at " if found.version else ""
    checks = [Check(name, "ok", f"{version}{found.program}")]
    if profile.node is not None:
        checks.append(await asyncio.to_thread(_node, profile, profile.node, found, env))
    if profile.keys:
        checks.append(_key(profile, found))
    return [*checks, await _answer(profile, env)]


def _node(profile: Profile, least: int, found: Installed, env: Mapping[str, str]) -> Check:
    name, step = f"backend {profile.id}: Node", f"Install Node {least} or newer, where the server's PATH has it."
    program = shutil.which("node", path=env.get("PATH"))
    if program is None:
        return Check(name, "missing", "node is not on the PATH", step)
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_NODE_SECONDS, check=True)
        version = said.stdout.strip().removeprefix("v")
        major = int(version.partition(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Check(name, "missing", f"{program} does not tell its version: {error}", step)
    asks = f"; the package asks for {found.node}" if found.node else ""
    found_node = f"{version} at {program}{asks}"
    return Check(name, "ok", found_node) if major >= least else Check(name, "missing", found_node, step)


def _key(profile: Profile, found: Installed) -> Check:
    name = f"backend {profile.id}: key"
    if found.has_key:
        return Check(name, "ok", "a key is set")
    names = " or ".join(profile.keys)
    return Check(name, "missing", "no key is set", f"Set {names} for the server.")


async def _answer(profile: Profile, env: Mapping[str, str]) -> Check:
    name = f"backend {profile.id}: initialize"
    with tempfile.TemporaryDirectory(prefix="missionstream-doctor-") as folder:
        space = Path(folder) / "space"
        space.mkdir()
        try:
            launch = launch_for(profile.id, env, run_id=str(uuid4()), space=space, home=Path(folder) / "home")
            greeting = await greet(launch)
        except AgentFailed as error:
            command = " ".join(command_for(profile.id, env))
            step = f"Run {command} by hand to see more, or install it anew: {profile.install}"
            return Check(name, "missing", error.message, step)
        except MissionstreamError as error:
            return Check(name, "missing", error.message, "Correct the server's settings.")
    about = " ".join(filter(None, (greeting.name, greeting.version)))
    return Check(name, "ok", f"answered in {greeting.seconds:g} s" + (f" as {about}" if about else ""))
