"""The root command: its help, its exit codes, and that it is quick to answer."""

import importlib
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from server.cli.exits import DOCUMENTED
from server.cli.main import SECTIONS, Entry
from tests.cli.conftest import Cli

ENTRIES = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


def loaded(entry: Entry) -> click.Command:
    module, _, attribute = entry.target.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


def leaves(command: click.Command) -> Iterator[click.Command]:
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from leaves(below)
    else:
        yield command


def test_help_imports_nothing_slow() -> None:
    slow = ["rich", "pydantic", "asyncpg", "aiohttp", "msgspec", "missionstream_client", "server.app"]
    script = f"import server.cli, sys; print([name for name in {slow} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


async def test_help_lists_every_command_and_every_exit_code(cli: Cli) -> None:
    result = await cli("--help")
    assert result.code == 0
    words = " ".join(result.out.split())
    assert all(f"{code} {meaning}" in words for code, meaning in DOCUMENTED.items())
    assert all(name in result.out for name in ENTRIES)


async def test_the_version_is_told(cli: Cli) -> None:
    result = await cli("--version")
    assert result.code == 0
    assert result.out.startswith("missionstream, version ")


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_has_json_and_debug(name: str) -> None:
    command = loaded(ENTRIES[name])
    assert command.name == name
    for leaf in leaves(command):
        options = {option for parameter in leaf.params for option in parameter.opts}
        assert {"--json", "--debug"} <= options
        assert leaf.help


async def test_an_unknown_command_is_a_usage_error(cli: Cli) -> None:
    result = await cli("fly")
    assert (result.code, result.out) == (2, "")
    assert "No such command 'fly'" in result.err


async def test_a_wrong_setting_is_a_usage_error_that_does_not_repeat_it(cli: Cli) -> None:
    result = await cli("serve", MISSIONSTREAM_DRAIN_SECONDS="secret-by-mistake")
    assert result.code == 2
    assert "MISSIONSTREAM_DRAIN_SECONDS" in result.err
    assert "secret-by-mistake" not in result.err
