"""The first start, later starts, and starts at the same time."""

import asyncio
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.auth import secretfile, tokens
from server.auth.authenticator import Authenticator
from server.auth.bootstrap import bootstrap, check_token, jwt_secret
from server.auth.directory import Directory
from storage import founding, identity, workspaces
from storage.pool import Database
from streams.errors import Unprocessable

GIVEN = "the operator's own token"


async def works(database: Database, token: str) -> bool:
    holder = await identity.find_by_hash(database, tokens.digest(token))
    return holder is not None and holder.revoked_at is None and holder.role == "OWNER"


async def test_the_first_start_makes_workspace_owner_and_token(database: Database, tmp_path: Path) -> None:
    path = await bootstrap(database, tmp_path)
    assert path == tmp_path / "owner-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text().strip()
    assert re.fullmatch(r"mst_[0-9A-Za-z]{36}", token)
    assert await works(database, token)
    (workspace,) = await workspaces.every(database)
    (owner,) = await identity.members(database, workspace.id)
    assert (workspace.slug, owner.user_name, owner.role) == ("default", "owner", "OWNER")


async def test_a_later_start_changes_nothing(database: Database, tmp_path: Path) -> None:
    path = await bootstrap(database, tmp_path)
    assert path is not None
    token = path.read_text()
    assert await bootstrap(database, tmp_path) == path
    assert path.read_text() == token
    path.unlink()
    assert await bootstrap(database, tmp_path) is None
    assert not path.exists()
    assert len(await workspaces.every(database)) == 1


async def test_a_given_token_is_the_owners_and_no_file_is_made(database: Database, tmp_path: Path) -> None:
    for _ in range(2):
        assert await bootstrap(database, tmp_path, f" {GIVEN}\n") is None
    assert await works(database, GIVEN)
    assert list(tmp_path.iterdir()) == []


async def test_another_given_token_ends_the_one_before(database: Database, tmp_path: Path) -> None:
    path = await bootstrap(database, tmp_path)
    assert path is not None
    await bootstrap(database, tmp_path, GIVEN)
    await bootstrap(database, tmp_path, "a newer token of theirs")
    assert not await works(database, GIVEN)
    assert await works(database, "a newer token of theirs")
    assert await works(database, path.read_text().strip())


async def test_a_revoked_token_stays_revoked(database: Database, tmp_path: Path, log_lines: list[Any]) -> None:
    await bootstrap(database, tmp_path, GIVEN)
    holder = await identity.find_by_hash(database, tokens.digest(GIVEN))
    assert holder is not None
    await identity.revoke_token(database, holder.token_id)
    await bootstrap(database, tmp_path, GIVEN)
    assert not await works(database, GIVEN)
    assert [line["event"] for line in log_lines] == ["bootstrap.token_revoked"]


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        ("fifteen letters", "15 characters"),
        ("sixteen or more\0", "printable"),
        ("sechzehn Zeichen äöü", "printable"),
        ("mst_" + "a" * 36, "checksum"),
    ],
)
async def test_an_unfit_token_is_refused_and_not_repeated(
    database: Database, tmp_path: Path, token: str, complaint: str
) -> None:
    with pytest.raises(Unprocessable, match=complaint) as refused:
        await bootstrap(database, tmp_path, token)
    assert token not in str(refused.value)
    assert await workspaces.every(database) == []


def test_sixteen_characters_are_enough() -> None:
    check_token("sixteen letters!")


async def test_servers_that_start_together_agree(database: Database, tmp_path: Path) -> None:
    paths = await asyncio.gather(*(bootstrap(database, tmp_path) for _ in range(6)))
    assert set(paths) == {tmp_path / "owner-token"}
    assert await works(database, (tmp_path / "owner-token").read_text().strip())
    (workspace,) = await workspaces.every(database)
    (owner,) = await identity.members(database, workspace.id)
    assert len(await identity.list_tokens(database, owner.user_id)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["owner-token"]


async def test_of_servers_with_their_own_directories_one_keeps_a_file(database: Database, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(6)]
    paths = await asyncio.gather(*(bootstrap(database, folder) for folder in folders))
    files = list(tmp_path.glob("*/owner-token"))
    assert files == [path for path in paths if path]
    assert len(files) == 1
    assert await works(database, files[0].read_text().strip())


async def test_a_crash_between_file_and_commit_is_mended(database: Database, tmp_path: Path) -> None:
    left = secretfile.ensure(tmp_path / "owner-token", tokens.generate).text
    assert await bootstrap(database, tmp_path) == tmp_path / "owner-token"
    assert await works(database, left)


async def test_an_existing_workspace_is_kept(database: Database, tmp_path: Path) -> None:
    await workspaces.create(database, "acme")
    await bootstrap(database, tmp_path, GIVEN)
    assert [workspace.slug for workspace in await workspaces.every(database)] == ["acme"]
    assert await works(database, GIVEN)


async def test_the_developer_is_made_once_and_never_the_owner(database: Database, tmp_path: Path) -> None:
    found = await asyncio.gather(*(Directory(database).developer() for _ in range(6)))
    assert {(who.name, who.role, who.user_id) for who in found} == {("dev", "OWNER", founding.DEV_USER)}
    await bootstrap(database, tmp_path, GIVEN)
    holder = await identity.find_by_hash(database, tokens.digest(GIVEN))
    assert holder is not None
    assert holder.user_name == "owner"
    home = await founding.home(database)
    assert home is not None
    assert home.owner_name == "owner"


async def test_the_signing_secret_is_made_once(tmp_path: Path) -> None:
    made = set(await asyncio.gather(*(jwt_secret(tmp_path / "new") for _ in range(6))))
    assert made == {await jwt_secret(tmp_path / "new", "  ")}
    assert len(made.pop()) >= 32
    assert stat.S_IMODE((tmp_path / "new" / "jwt-secret").stat().st_mode) == 0o600
    assert await jwt_secret(tmp_path / "other", "configured secret of theirs") == "configured secret of theirs"
    assert not (tmp_path / "other").exists()


async def test_a_short_signing_secret_is_refused(tmp_path: Path, authenticators: Callable[..., Authenticator]) -> None:
    with pytest.raises(Unprocessable, match="too short"):
        await jwt_secret(tmp_path, "short")
    with pytest.raises(Unprocessable, match="too short"):
        authenticators(jwt_secret="short")


def test_an_empty_secret_file_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "owner-token").touch()
    with pytest.raises(OSError, match="is empty"):
        secretfile.ensure(tmp_path / "owner-token", tokens.generate)


async def test_the_log_tells_where_the_token_is_and_not_what(
    database: Database, tmp_path: Path, log_lines: list[Any]
) -> None:
    path = await bootstrap(database, tmp_path)
    assert path is not None
    await bootstrap(database, tmp_path, GIVEN)
    await jwt_secret(tmp_path)
    assert str(path) in str(log_lines)
    for secret in (path.read_text().strip(), GIVEN, (tmp_path / "jwt-secret").read_text().strip()):
        assert secret not in str(log_lines)
