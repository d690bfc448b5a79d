"""`missionstream serve` as a process, with a PostgreSQL of its own and with one that is given."""

import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.conftest import Cli, Start


async def test_a_first_start_says_where_it_is_and_where_the_token_is(cli: Cli, start: Start, data_dir: Path) -> None:
    running = await start("serve", "--port", "0", "--data-dir", str(data_dir))
    url = await running.line()
    token_file = data_dir / "owner-token"
    assert url.startswith("http://127.0.0.1:")
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    with_flag = await cli("missions", "list", "--json", "--url", url, "--data-dir", str(data_dir))
    assert (with_flag.code, with_flag.json) == (0, [])
    assert str(token_file) in with_flag.err
    attached = await cli("verify", "--json", "--data-dir", str(data_dir))
    assert attached.lines == [{"streams": 1, "findings": 0}]
    in_use = await cli("serve", "--port", "0", "--data-dir", str(data_dir))
    assert (in_use.code, in_use.out) == (5, "")
    assert "in use" in in_use.err
    running.process.send_signal(signal.SIGTERM)
    ended = await running.ended()
    assert (ended.code, ended.out) == (0, "")
    assert "First start" in ended.err
    assert f"owner's token, made now, is in {token_file}" in ended.err
    assert token_file.read_text().strip() not in ended.err
    assert "server.ready" in ended.err


async def test_json_tells_the_same_in_one_line(start: Start, on_database: None, data_dir: Path) -> None:
    running = await start("serve", "--json", "--port", "0")
    told = json.loads(await running.line())
    assert told["data_dir"] == str(data_dir)
    assert told["token_file"] == str(data_dir / "owner-token")
    running.process.send_signal(signal.SIGINT)
    ended = await running.ended()
    assert (ended.code, ended.out) == (0, "")
    assert "First start" not in ended.err


async def test_a_port_in_use_says_what_to_do(cli: Cli, server_process: Callable[..., Any]) -> None:
    async with server_process() as url:
        result = await cli("serve", "--port", url.rpartition(":")[2])
    assert (result.code, result.out) == (1, "")
    assert "--port" in result.err
    assert "Traceback" not in result.err
