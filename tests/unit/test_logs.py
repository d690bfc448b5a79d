"""Logs show what went wrong, never a local variable: tokens and prompts are among them."""

import json

import pytest
import structlog

from server import logs


def _fail(token: str) -> None:
    raise RuntimeError("it broke")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variable(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    try:
        logs.configure(form, "info")
        try:
            _fail("mst_" + "SECRET")
        except RuntimeError:
            structlog.get_logger().exception("request.failed", path="/x")
        written = capsys.readouterr().err
    finally:
        structlog.configure(**before)
    assert "it broke" in written
    assert "_fail" in written
    assert "mst_SECRET" not in written
    if form == "json":
        assert json.loads(written.splitlines()[0])["event"] == "request.failed"
