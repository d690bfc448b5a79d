"""migrate, verify, epoch, workspace, token and space, on the database itself."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.cli.conftest import Cli, Start
from tests.conftest import Cluster, Serving, url_of

pytestmark = pytest.mark.usefixtures("on_database")


async def test_migrate_makes_the_schema_once(cli: Cli, cluster: Cluster) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(**cluster.connect)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        url = url_of(cluster.connect | {"database": name})
        refused = await cli("workspace", "list", "--database-url", url)
        assert refused.code == 5
        assert "missionstream migrate" in refused.err
        first = await cli("migrate", "--database-url", url, "--json")
        assert first.json["before"] is None
        assert first.json["is_changed"] is True
        again = await cli("migrate", "--database-url", url)
        assert (again.code, again.err) == (0, "")
        assert "nothing to do" in again.out
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def test_verify_finds_nothing_in_a_whole_log(cli: Cli, as_owner: Serving) -> None:
    await cli("missions", "create", "a mission")
    result = await cli("verify")
    assert (result.code, result.err) == (0, "")
    assert "Verified 2 streams" in result.out
    assert (await cli("verify", "--json")).lines == [{"streams": 2, "findings": 0}]


async def test_verify_tells_what_does_not_hold(cli: Cli, as_owner: Serving, connect: dict[str, Any]) -> None:
    mission_id = (await cli("missions", "create", "true title")).out.strip()
    connection = await asyncpg.connect(**connect)
    await connection.execute("UPDATE missions SET title = 'forged'")
    try:
        result = await cli("verify")
        assert result.code == 1
        assert f"stream {mission_id}: title: the log folds to 'true title', the row says 'forged'" in result.out
        *findings, sums = (await cli("verify", "--json")).lines
        assert sums == {"streams": 2, "findings": 1}
        assert [finding["stream_id"] for finding in findings] == [mission_id]
    finally:
        await connection.execute("UPDATE missions SET title = 'true title'")
        await connection.close()


async def test_a_new_epoch_is_another_one_for_every_workspace(cli: Cli) -> None:
    await cli("workspace", "create", "field-ops")
    before = {row["slug"]: row["epoch"] for row in (await cli("workspace", "list", "--json")).json}
    after = {row["workspace"]: row["epoch"] for row in (await cli("epoch", "new", "--json")).json}
    assert set(before) == set(after) == {"default", "field-ops"}
    assert not set(before.values()) & set(after.values())
    shown = await cli("epoch", "new")
    assert shown.code == 0
    assert "field-ops: epoch " in shown.out


async def test_workspaces_are_made_once_and_listed(cli: Cli) -> None:
    made = await cli("workspace", "create", "field-ops", "--name", "Field operations")
    assert (made.code, made.out.split()[:2]) == (0, ["Workspace", "field-ops:"])
    assert (await cli("workspace", "create", "field-ops")).code == 5
    assert (await cli("workspace", "create", "Field Ops!")).code == 2
    listed = await cli("workspace", "list")
    assert "Field operations" in listed.out
    rows = (await cli("workspace", "list", "--json")).json
    assert [(row["slug"], row["head"]) for row in rows] == [("default", 0), ("field-ops", 0)]


async def test_a_new_token_works_is_shown_once_and_ends_when_revoked(cli: Cli, serving: Serving) -> None:
    url = ("--url", serving.url)
    made = await cli("token", "create", "ci", "--expires-in", "12h")
    secret = made.out.strip()
    assert (made.code, made.out.count("\n"), len(secret)) == (0, 1, 40)
    assert secret not in made.err
    assert (await cli("missions", "list", *url, "--token", secret)).code == 0
    listed, as_json = await asyncio.gather(cli("token", "list"), cli("token", "list", "--json"))
    assert "ci" in listed.out
    assert all(secret not in text for result in (listed, as_json) for text in (result.out, result.err))
    [row] = [row for row in as_json.json if row["name"] == "ci"]
    assert (row["workspace"], row["user"], row["role"]) == ("default", "owner", "OWNER")
    revoked = await cli("token", "revoke", row["id"])
    assert revoked.code == 0
    assert (await cli("token", "revoke", row["id"])).code == 3
    assert [row["name"] for row in (await cli("token", "list", "--json")).json if row["name"] == "ci"] == []


async def test_a_leaked_secret_revokes_itself_and_is_not_repeated(cli: Cli) -> None:
    await cli("workspace", "create", "field-ops")
    secret = (await cli("token", "create", "leaked", "--workspace", "field-ops")).out.strip()
    revoked = await cli("token", "revoke", secret, "--json")
    assert revoked.json["is_revoked"] is True
    assert secret not in revoked.out + revoked.err
    unknown = await cli("token", "revoke", "mst_unknown-secret")
    assert unknown.code == 3
    assert "unknown-secret" not in unknown.err


async def test_a_token_may_stand_for_a_new_member_with_a_small_role(cli: Cli, serving: Serving) -> None:
    missing = await cli("token", "create", "x", "--user", "bob")
    assert missing.code == 3
    assert "--role" in missing.err
    made = await cli("token", "create", "x", "--user", "bob", "--role", "VIEWER", "--json")
    assert (made.json["user"], made.json["role"]) == ("bob", "VIEWER")
    again = await cli("token", "create", "y", "--user", "bob", "--scope", "missions:view", "--json")
    assert again.json["scopes"] == ["missions:view"]
    token = ("--url", serving.url, "--token", made.json["token"])
    assert (await cli("missions", "list", *token)).code == 0
    assert (await cli("missions", "create", *token)).code == 4
    assert (await cli("token", "create", "z", "--scope", "nonsense")).code == 2


async def test_spaces_are_added_and_listed(cli: Cli, as_owner: Serving, tmp_path: Path) -> None:
    made = await cli("space", "add", "docs", "--json")
    assert Path(made.json["path"]).is_dir()
    assert (await cli("space", "add", "docs")).code == 5
    outside = await cli("space", "add", "mine", str(tmp_path))
    assert outside.code == 2
    assert "MISSIONSTREAM_SPACE_ROOTS" in outside.err
    allowed = await cli("space", "add", "mine", str(tmp_path), MISSIONSTREAM_SPACE_ROOTS=str(tmp_path))
    assert str(tmp_path) in allowed.out
    listed = await cli("space", "list")
    assert [name in listed.out for name in ("host", "docs", "mine")] == [True] * 3
    assert [row["name"] for row in (await cli("space", "list", "--json")).json] == ["host", "docs", "mine"]
    mission = await cli("missions", "create", "in docs", "--space", made.json["id"], "--json")
    assert mission.json["workspace_id"] == made.json["id"]


async def test_an_unknown_workspace_is_3(cli: Cli) -> None:
    commands = (("token", "create", "x"), ("space", "add", "x"), ("space", "list"), ("token", "list"))
    for result in await asyncio.gather(*(cli(*words, "--workspace", "nowhere") for words in commands)):
        assert result.code == 3
        assert "missionstream workspace list" in result.err


async def test_doctor_finds_what_is_there_and_how_to_get_what_is_not(cli: Cli, start: Start) -> None:
    result = await cli("doctor", PATH="/nowhere")
    assert result.code == 0
    assert "npm install -g opencode-ai" in result.out
    checks = {check["name"]: check["state"] for check in (await cli("doctor", "--json")).json}
    assert (checks["Python"], checks["PostgreSQL"], checks["backend demo"]) == ("ok", "ok", "ok")
    broken = await cli("doctor", "--json", "--database-url", "postgresql://me:hidden@127.0.0.1:9/none")
    assert broken.code == 1
    assert "hidden" not in broken.out + broken.err
