"""The embedded database: started, refused, taken over, restarted and stopped, with real processes."""

import asyncio
import contextlib
import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from storage.datadir import DataDirectory, DataDirectoryInUse, DataDirectoryUnusable, NoDatabase
from storage.embedded import QUICK, EmbeddedPostgres, attach, throwaway
from storage.postmaster import LOG_BYTES, DatabaseFailed, belongs
from storage.processes import Process, process, processes
from tests.storage.embedded_support import (
    Server,
    as_root,
    bystander,
    connected,
    copy_of,
    folder_removed_afterwards,
    give_to_root,
    is_running,
    kill_left,
    renamed,
    until,
    until_replaced,
)


@pytest.fixture(scope="module")
def lasting() -> Iterator[Path]:
    """One data directory that lives through most of the tests."""
    with folder_removed_afterwards() as folder:
        Server(folder).end_when_up()
        yield folder


@pytest.fixture
def folder(lasting: Path) -> Iterator[Path]:
    yield lasting
    kill_left(lasting)


@pytest.fixture
def copied(folder: Path) -> Iterator[Path]:
    """A copy of it, to be spoiled or to stand beside it."""
    with folder_removed_afterwards() as copied:
        yield copy_of(folder, copied)


@pytest.fixture
async def database(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres(folder, settings=QUICK) as database:
        yield database


@pytest.fixture
async def watched(database: EmbeddedPostgres) -> AsyncIterator[EmbeddedPostgres]:
    watching = asyncio.create_task(database.watch())
    yield database
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


@pytest.fixture
def left_running(folder: Path) -> int:
    """The postmaster that a killed server left."""
    server = Server(folder)
    pid = server.until_up()
    server.end(signal.SIGKILL)
    assert is_running(pid)
    return pid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def setting(database: EmbeddedPostgres, name: str) -> str:
    async with connected(database) as connection:
        return str(await connection.fetchval("SELECT current_setting($1)", name))


async def test_a_new_cluster_has_checksums_one_locale_and_a_database_of_its_own_role() -> None:
    async with throwaway() as database, connected(database) as connection:
        assert await connection.fetchval("SHOW data_checksums") == "on"
        row = await connection.fetchrow(
            "SELECT pg_encoding_to_char(encoding) AS encoding, datlocale, pg_get_userbyid(datdba) AS owner"
            " FROM pg_database WHERE datname = current_database()"
        )
        assert dict(row) == {"encoding": "UTF8", "datlocale": "C.UTF-8", "owner": "missionstream"}
        folder = Path(database.connect_kwargs["host"]).parent
    assert not folder.exists()


async def test_only_the_password_opens_the_socket_and_there_is_no_network_port(database: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with connected(database, password="wrong"):
            pass
    assert await setting(database, "listen_addresses") == ""
    async with connected(database) as connection:
        methods = await connection.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert [row[0] for row in methods] == ["scram-sha-256"]


async def test_settings_win_over_the_defaults_but_never_move_the_socket(folder: Path) -> None:
    odd = {**QUICK, "jit": "on", "unix_socket_directories": "/tmp", "cluster_name": "odd"}
    async with EmbeddedPostgres(folder, settings=odd) as database:
        assert await setting(database, "jit") == "on"
        assert await setting(database, "TimeZone") == "UTC"
        assert await setting(database, "cluster_name") != "odd"
    async with EmbeddedPostgres(folder) as database:
        assert [await setting(database, name) for name in ("fsync", "full_page_writes", "jit")] == ["on", "on", "off"]


async def test_a_folder_with_spaces_quotes_and_commas_in_its_name_will_do(copied: Path) -> None:
    odd = renamed(copied, copied.name + """ it's "a", b""")
    try:
        async with EmbeddedPostgres(odd, settings=QUICK) as database:
            assert await setting(database, "data_directory") == str(odd / "postgres")
    finally:
        renamed(odd, copied.name)


async def test_nobody_else_can_read_the_data_and_nothing_outside_changes(database: EmbeddedPostgres) -> None:
    directory = DataDirectory(Path(database.connect_kwargs["host"]).parent)
    private = [directory.cluster, directory.run]
    assert [mode(path) for path in private] == [0o700, 0o700]
    assert [mode(path) for path in (directory.password_file, directory.lock_file, directory.log)] == [0o600] * 3
    assert {path.stat().st_uid for path in private} == {directory.account.uid}
    assert directory.top.stat().st_uid == os.geteuid()
    assert mode(directory.top.parent) == 0o1777


async def test_a_second_server_is_refused_with_the_pid_of_the_first(folder: Path) -> None:
    server = Server(folder)
    pid = server.until_up()
    with pytest.raises(DataDirectoryInUse, match=f"process {server.child.pid};") as refused:
        await EmbeddedPostgres(folder).start()
    assert refused.value.holder == str(server.child.pid)
    assert is_running(pid)
    server.end()
    assert not is_running(pid)


async def test_stop_ends_postgres_and_frees_the_directory(folder: Path) -> None:
    for _ in range(2):
        database = EmbeddedPostgres(folder, settings=QUICK)
        await database.start()
        pid = database.pid
        assert pid
        async with connected(database) as connection:  # a client that is still there does not delay it
            await database.stop()
            await until(connection.is_closed)
        assert not is_running(pid)
        assert database.pid is None
        assert not (folder / "postgres" / "postmaster.pid").exists()


def test_start_and_stop_may_run_in_different_loops(folder: Path) -> None:
    database = EmbeddedPostgres(folder, settings=QUICK)
    asyncio.run(database.start())
    pid = database.pid
    asyncio.run(database.stop())
    assert pid
    assert not is_running(pid)


async def test_the_terminals_interrupt_does_not_reach_postgres(folder: Path) -> None:
    server = Server(folder)
    pid = server.until_up()
    os.killpg(server.child.pid, signal.SIGINT)
    async with await attach(folder) as database:
        assert database.pid == pid
        assert await setting(database, "port") == "5432"
    server.end()


async def test_a_killed_servers_postmaster_is_taken_over_with_its_data(folder: Path) -> None:
    server = Server(folder)
    pid = server.until_up()
    async with await attach(folder) as database, connected(database) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    server.end(signal.SIGKILL)
    async with EmbeddedPostgres(folder, settings=QUICK) as database:
        assert database.pid == pid
        async with connected(database) as connection:
            assert await connection.fetchval("SELECT value FROM kept") == 42
    assert not is_running(pid)


async def test_a_killed_servers_postmaster_with_other_options_is_replaced(folder: Path, left_running: int) -> None:
    async with EmbeddedPostgres(folder, settings={**QUICK, "work_mem": "5MB"}) as database:
        assert database.pid != left_running
        assert not is_running(left_running)
        assert await setting(database, "work_mem") == "5MB"


async def test_a_postmaster_is_not_taken_over_when_another_cluster_answers(
    folder: Path, copied: Path, left_running: int
) -> None:
    async with EmbeddedPostgres(copied, settings=QUICK) as foreign:  # a copy, so it has the same password
        socket = folder / "run" / ".s.PGSQL.5432"
        socket.unlink()
        socket.symlink_to(copied / "run" / ".s.PGSQL.5432")
        async with EmbeddedPostgres(folder, settings=QUICK) as database:
            assert database.pid not in (left_running, foreign.pid)
            assert await setting(database, "data_directory") == str(folder / "postgres")
        assert foreign.pid


async def test_a_postmaster_that_refuses_our_password_is_left_alone(folder: Path, left_running: int) -> None:
    secret = (folder / "database-password").read_text()
    (folder / "database-password").write_text("wrong\n")
    for start in (EmbeddedPostgres(folder, settings=QUICK).start, lambda: attach(folder)):
        with pytest.raises(DataDirectoryUnusable, match=r"refuses the password in .*database-password\. Restore"):
            await start()
    assert is_running(left_running)
    (folder / "database-password").write_text(secret)
    async with EmbeddedPostgres(folder, settings=QUICK) as database:
        assert database.pid == left_running


@pytest.mark.parametrize("content", ["", "nonsense\n", "4000000\n/nowhere\n"])
async def test_a_stale_pid_file_does_not_hinder_the_start(folder: Path, content: str) -> None:
    stale = folder / "postgres" / "postmaster.pid"
    stale.write_text(content)
    async with EmbeddedPostgres(folder, settings=QUICK) as database:
        assert stale.read_text().startswith(f"{database.pid}\n")


async def test_a_pid_file_that_names_somebody_else_ends_nobody(folder: Path, copied: Path) -> None:
    directory = DataDirectory(folder)
    with bystander(folder) as sleeping:
        async with EmbeddedPostgres(copied, settings=QUICK) as other:
            for pid in (sleeping.pid, other.pid):
                directory.pid_file.write_text(f"{pid}\n{directory.cluster}\n1\n5432\n{directory.run}\n\n1 1\nready\n")
                directory.socket.with_name(".s.PGSQL.5432.lock").write_text(directory.pid_file.read_text())
                async with EmbeddedPostgres(folder, settings=QUICK) as database:
                    assert database.pid not in (None, pid)
                assert pid
                assert is_running(pid)


async def test_a_dead_postmaster_is_restarted_and_nothing_is_lost(watched: EmbeddedPostgres) -> None:
    async with connected(watched) as connection:
        await connection.execute("CREATE TABLE survived AS SELECT 42 AS value")
        dead = watched.pid
        assert dead
        os.kill(dead, signal.SIGKILL)
        await until(connection.is_closed)
    await until_replaced(watched, dead)
    async with connected(watched) as connection:
        assert await connection.fetchval("SELECT value FROM survived") == 42


async def test_backends_that_outlive_their_postmaster_are_ended(watched: EmbeddedPostgres, folder: Path) -> None:
    with bystander(folder) as sleeping:
        async with connected(watched) as busy, connected(watched) as stopped:
            orphans = [connection.get_server_pid() for connection in (busy, stopped)]
            loop = asyncio.ensure_future(busy.execute("DO 'BEGIN LOOP END LOOP; END'"))
            await until(lambda: " DO" in Path(f"/proc/{orphans[0]}/cmdline").read_text())
            os.kill(orphans[1], signal.SIGSTOP)  # takes no signal but the last
            dead = watched.pid
            assert dead
            os.kill(dead, signal.SIGKILL)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await asyncio.wait_for(loop, 20)
            await until_replaced(watched, dead)
            assert not any(is_running(pid) for pid in orphans)
            stopped.terminate()
        assert is_running(sleeping.pid)


async def test_where_the_kernel_hides_folders_a_process_is_known_by_its_title(
    database: EmbeddedPostgres, folder: Path
) -> None:
    directory = DataDirectory(folder)
    ours = [found for found in processes() if belongs(found, directory)]
    assert database.pid in [found.pid for found in ours]
    assert len(ours) > 5
    for found in ours:
        assert belongs(Process(found.pid, found.uid, found.name, found.command), directory)
        assert not belongs(Process(found.pid, found.uid + 1, found.name, found.command), directory)
    copied = Process(1, directory.account.uid, "postgres", f"postgres: {directory.mark[:-1]}: checkpointer")
    assert not belongs(copied, directory)
    assert process(4_000_000) is None


async def test_a_start_that_fails_says_why_and_leaves_nothing_running(folder: Path) -> None:
    with pytest.raises(DatabaseFailed, match=r"postgres.log:\n.*invalid value for parameter .*work_mem"):
        await EmbeddedPostgres(folder, settings={"work_mem": "much"}).start()
    async with EmbeddedPostgres(folder, settings=QUICK) as database:
        assert database.pid


async def test_a_cancelled_start_leaves_nothing_running(folder: Path) -> None:
    directory = DataDirectory(folder)
    starting = asyncio.create_task(EmbeddedPostgres(folder, settings=QUICK).start())
    await until(lambda: Path(directory.pid_file).exists())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not [found for found in processes() if belongs(found, directory)]
    directory.lock().release()


async def test_a_lost_password_is_an_error_that_says_what_to_restore(copied: Path) -> None:
    (copied / "database-password").unlink()
    with pytest.raises(DataDirectoryUnusable, match=r"database-password is missing.*Restore it"):
        await EmbeddedPostgres(copied).start()


async def test_the_cluster_of_another_postgresql_is_refused(copied: Path) -> None:
    (copied / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(DataDirectoryUnusable, match=r"made by PostgreSQL 17; .* brings 18\. Dump it"):
        await EmbeddedPostgres(copied).start()


async def test_a_large_log_is_put_aside_at_the_start(folder: Path) -> None:
    with (folder / "postgres.log").open("wb") as log:
        log.truncate(LOG_BYTES + 1)
    async with EmbeddedPostgres(folder, settings=QUICK):
        assert (folder / "postgres.log").stat().st_size < 10_000
        assert (folder / "postgres.log.1").stat().st_size == LOG_BYTES + 1


async def test_a_command_attaches_to_the_running_database_and_leaves_it_running(folder: Path) -> None:
    server = Server(folder)
    pid = server.until_up()
    async with await attach(folder) as database:
        assert database.pid == pid
        assert await setting(database, "port") == "5432"
    assert is_running(pid)
    server.end()


async def test_a_command_waits_for_a_server_that_is_still_starting(folder: Path) -> None:
    server = Server(folder)
    await until((folder / "postgres" / "postmaster.pid").exists)
    async with await attach(folder) as database:
        assert await setting(database, "port") == "5432"
    assert server.until_up() == database.pid
    server.end()


async def test_a_command_without_a_server_runs_the_database_for_itself(folder: Path) -> None:
    async with await attach(folder, settings=QUICK) as database:
        pid = database.pid
        assert pid
        with pytest.raises(DataDirectoryInUse, match=f"process {os.getpid()};"):
            await EmbeddedPostgres(folder).start()
    assert not is_running(pid)


async def test_a_command_makes_no_database_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NoDatabase, match="--data-dir"):
        await attach(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


@as_root
async def test_a_cluster_that_root_restored_is_given_back_to_its_user(copied: Path) -> None:
    give_to_root(copied)
    async with EmbeddedPostgres(copied, settings=QUICK) as database:
        assert await setting(database, "port") == "5432"
