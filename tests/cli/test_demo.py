"""The demo, whole: the one command that a newcomer runs."""

from pathlib import Path

from tests.cli.conftest import Cli


async def test_the_demo_shows_that_nothing_is_lost(cli: Cli, data_dir: Path) -> None:
    result = await cli("demo", "--json", "--data-dir", str(data_dir))
    assert result.code == 0, result.err
    proof = result.json
    assert proof["ok"] is True
    assert proof["verify"] == {"streams": 2, "findings": 0}
    assert [row["transport"] for row in proof["followers"]] == ["SSE", "WebSocket", "polling"]
    for row in proof["followers"]:
        assert row["events"] == proof["log_events"] >= 20
        assert (row["gaps"], row["duplicates"], row["is_same_as_log"]) == (0, 0, True)
        assert row["reconnects"] >= 1
    story = [" ".join(line.split()) for line in result.err.splitlines()]
    assert any("SIGKILL" in line for line in story)
    assert any(line.endswith("status interrupted (crashed)") for line in story)
    assert "Nothing was lost, nothing came twice." in story
    assert (data_dir / "owner-token").read_text().strip() not in result.err
