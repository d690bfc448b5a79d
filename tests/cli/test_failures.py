"""Every failure is an exit code, one line and a next step, never a traceback."""

import asyncio
import os
import pty
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from missionstream_client import ApiError, ProtocolError, RateLimitedError, UnavailableError
from server.cli.exits import Exit
from server.cli.failures import failure_of
from server.cli.main import main
from streams.errors import MissionstreamError, TooMany, Unavailable
from tests.cli.conftest import COMMAND, Cli
from tests.conftest import Serving

NOWHERE = "http://127.0.0.1:9"


async def test_an_unknown_mission_is_3(cli: Cli, as_owner: Serving) -> None:
    commands = (("missions", "show"), ("missions", "cancel"), ("tail",))
    for result in await asyncio.gather(*(cli(*words, str(uuid.uuid4())) for words in commands)):
        assert (result.code, result.out) == (3, "")
        assert "not found" in result.err
        assert "Traceback" not in result.err


async def test_a_bad_token_is_4_and_is_not_repeated(cli: Cli, as_owner: Serving) -> None:
    result = await cli("missions", "list", "--token", "mst_nonsense-nonsense")
    assert (result.code, result.out) == (4, "")
    assert "missionstream token create" in result.err
    assert "nonsense" not in result.err


async def test_no_token_is_4(cli: Cli, serving: Serving, tmp_path: Path) -> None:
    result = await cli("missions", "list", "--url", serving.url, "--data-dir", str(tmp_path))
    assert result.code == 4


async def test_nothing_listening_is_8(cli: Cli, tmp_path: Path) -> None:
    commands = (("missions", "list"), ("tail",), ("tail", str(uuid.uuid4())))
    where = ("--url", NOWHERE, "--data-dir", str(tmp_path))
    for result in await asyncio.gather(*(cli(*words, *where) for words in commands)):
        assert (result.code, result.out) == (8, "")
        assert "missionstream serve" in result.err
        assert "Traceback" not in result.err


async def test_an_unreachable_database_is_8_and_hides_its_password(cli: Cli) -> None:
    url = ("--database-url", "postgresql://me:hidden@127.0.0.1:9/none")
    for result in await asyncio.gather(
        *(cli(*command.split(), *url) for command in ("space list", "migrate", "serve"))
    ):
        assert (result.code, result.out) == (8, "")
        assert "hidden" not in result.err
        assert "Traceback" not in result.err


async def test_a_data_directory_without_a_database_is_3(cli: Cli, tmp_path: Path) -> None:
    result = await cli("token", "list", "--data-dir", str(tmp_path / "none"))
    assert result.code == 3
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("missions", "list", "--status", "sleeping"),
        ("missions", "list", "--url", "localhost:8080"),
        ("missions", "send", "x", "  "),
        ("tail", "--since", "yesterday"),
        ("tail", "--since", "5"),
        ("tail", "--until-idle"),
        ("tail", "--transport", "poll", "--signals"),
        ("token", "create", "ci", "--expires-in", "soon"),
        ("token", "create", "ci", "--role", "MEMBER"),
        ("verify", "--database-url", "mysql://x"),
    ],
)
def test_misuse_is_2(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["missionstream", *words])
    monkeypatch.setenv("MISSIONSTREAM_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("server.logs.configure", lambda form, level: None)
    assert main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: " in err


async def test_debug_shows_where_it_failed(cli: Cli, tmp_path: Path) -> None:
    result = await cli("missions", "list", "--url", NOWHERE, "--data-dir", str(tmp_path), "--debug")
    assert "Traceback" in result.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimitedError("slow down", status=429), Exit.RATE_LIMIT),
        (TooMany(), Exit.RATE_LIMIT),
        (UnavailableError("draining", status=503), Exit.SERVER),
        (ProtocolError("what?"), Exit.SERVER),
        (ApiError("boom", status=500), Exit.SERVER),
        (ApiError("title is too long", status=422), Exit.USAGE),
        (Unavailable(), Exit.UNREACHABLE),
        (MissionstreamError("odd"), Exit.FAILURE),
        (ZeroDivisionError("division by zero"), Exit.FAILURE),
        (PermissionError(13, "Permission denied", "/x"), Exit.FAILURE),
    ],
)
def test_each_kind_of_error_has_its_code(error: Exception, code: Exit) -> None:
    failure = failure_of(error)
    assert failure.exit == code
    assert failure.text.strip()
    assert "\n" not in failure.text


@pytest.mark.parametrize("settings", [{}, {"NO_COLOR": "1"}])
def test_colours_are_for_terminals_and_obey_no_color(
    environment: dict[str, str], settings: dict[str, str], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [*COMMAND, "missions", "list", "--url", NOWHERE, "--data-dir", str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environment | {"TERM": "xterm"} | settings,
            check=False,
            timeout=30,
        )
        written = os.read(ours, 100_000)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"Error: " in written
    assert (b"31m" in written) == (not settings)


async def test_no_colours_without_a_terminal(cli: Cli, as_owner: Serving, on_database: Any) -> None:
    for words in (("missions", "list"), ("workspace", "list"), ("doctor",)):
        result = await cli(*words, TERM="xterm-256color")
        assert result.code == 0
        assert "\x1b" not in result.out + result.err
