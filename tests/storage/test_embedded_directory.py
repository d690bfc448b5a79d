"""Where the embedded database lives: making the cluster, who can reach what, and PostgreSQL's programs."""

import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import processes
from storage.datadir import DataDirectory, DataDirectoryUnusable
from storage.embedded import QUICK, EmbeddedPostgres
from storage.pgbinaries import Binaries, NoBinaries, locate
from storage.postmaster import DatabaseFailed, belongs
from tests.storage.embedded_support import (
    Server,
    as_root,
    connected,
    folder_removed_afterwards,
    until,
    with_initdb,
)

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_removed_afterwards() as folder:
        yield folder


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    with folder_removed_afterwards() as folder:
        yield folder


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only we can enter."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def ordinary_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def answers(database: EmbeddedPostgres) -> bool:
    async with connected(database) as connection:
        return bool(await connection.fetchval("SELECT true"))


def test_the_password_is_in_no_argument_no_environment_and_no_log(folder: Path, elsewhere: Path) -> None:
    record = folder / "run" / "seen"
    script = f'{{ echo "$@"; env; }} > \'{record}\'\nexec "$INITDB" "$@"'
    server = Server(folder, str(with_initdb(elsewhere, script).packages))
    server.until_up()
    directory = DataDirectory(folder)
    secret = directory.password().encode()
    assert len(secret) > 30
    pids = [found.pid for found in processes.processes() if belongs(found, directory)]
    assert len(pids) > 5
    places = [Path(f"/proc/{pid}") for pid in (*pids, server.child.pid)]
    seen = [record.read_bytes(), *((place / "cmdline").read_bytes() for place in places)]
    seen += [(place / "environ").read_bytes() for place in places]
    seen += [server.end().encode(), directory.log.read_bytes()]
    assert b"--pwfile=" in seen[0]
    assert [text for text in seen if secret in text] == []


async def test_an_interrupted_initdb_is_recognised_and_done_again(folder: Path, elsewhere: Path) -> None:
    done = folder / "run" / "done"
    script = f"\"$INITDB\" \"$@\" && echo $$ > '{done}.new' && mv '{done}.new' '{done}' && exec sleep 600"
    server = Server(folder, str(with_initdb(elsewhere, script).packages))
    await until(done.exists)
    server.end(signal.SIGKILL)
    os.kill(int(done.read_text()), signal.SIGKILL)
    assert [name for name in ordinary_names(folder) if name.startswith("postgres.new-")]
    assert not (folder / "postgres").exists()
    async with EmbeddedPostgres(folder, settings=QUICK) as database:
        assert await answers(database)
    assert ordinary_names(folder) == ["database-password", "lock", "postgres", "postgres.log", "run"]


async def test_an_initdb_that_fails_says_why_and_leaves_nothing(folder: Path, elsewhere: Path) -> None:
    broken = with_initdb(elsewhere, "echo 'no space left' >&2; exit 1")
    with pytest.raises(DatabaseFailed, match=r"initdb failed in .*\n.*no space left"):
        await EmbeddedPostgres(folder, binaries=broken).start()
    assert ordinary_names(folder) == ["database-password", "lock", "run"]


async def test_a_program_that_cannot_be_run_says_what_to_do(folder: Path, elsewhere: Path) -> None:
    absent = with_initdb(elsewhere, "exit")
    absent.initdb.write_text("#!/no/such/shell\n")
    with pytest.raises(DatabaseFailed, match=r"initdb cannot be started as user .*--data-dir"):
        await EmbeddedPostgres(folder, binaries=absent).start()


async def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(folder: Path) -> None:
    deep = folder / ("long-" * 20)
    with pytest.raises(DataDirectoryUnusable, match=r"bytes too long .*--data-dir"):
        await EmbeddedPostgres(deep).start()
    assert not deep.exists()


async def test_a_file_in_the_place_of_the_directory_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(DataDirectoryUnusable, match="--data-dir"):
        await EmbeddedPostgres(folder / "file").start()


def test_without_packaged_programs_the_alternative_is_named() -> None:
    with pytest.raises(NoBinaries, match="MISSIONSTREAM_DATABASE_URL"):
        locate("no_such_package")


@as_root
async def test_a_directory_that_postgres_cannot_reach_is_refused_and_untouched(closed: Path) -> None:
    with pytest.raises(DataDirectoryUnusable, match=f"cannot enter {closed} .mode 0700.*--data-dir"):
        await EmbeddedPostgres(closed / "data").start()
    assert mode(closed) == 0o700
    assert ordinary_names(closed) == []


@as_root
async def test_only_an_empty_directory_or_one_of_ours_is_opened_for_postgres(closed: Path) -> None:
    (closed / "letter").write_text("private")
    with pytest.raises(DataDirectoryUnusable, match=f"holds other files.*chmod o.x {closed}"):
        await EmbeddedPostgres(closed).start()
    assert mode(closed) == 0o700
    (closed / "letter").unlink()
    for narrowed in (False, True):
        if narrowed:
            os.chmod(closed, 0o700)
        DataDirectory(closed).prepare()
        DataDirectory(closed).lock().release()
        assert mode(closed) == 0o711
    assert mode(closed / "run") == 0o700


@as_root
async def test_programs_out_of_reach_are_copied_once_and_old_copies_removed(folder: Path, closed: Path) -> None:
    hidden = locate().copy_to(closed / "packages")
    os.chmod(closed, 0o700)
    for leftover in ("postgresql-17.1", f"postgresql-{hidden.version}.new-cut"):
        (folder / leftover).mkdir()
    (folder / "lock").touch()
    async with EmbeddedPostgres(folder, settings=QUICK, binaries=hidden) as database:
        assert os.readlink(f"/proc/{database.pid}/exe").startswith(str(folder))
        assert await answers(database)
    [copy] = [folder / name for name in ordinary_names(folder) if name.startswith("postgresql-")]
    made = copy.stat()
    async with EmbeddedPostgres(folder, settings=QUICK, binaries=hidden) as database:
        assert await answers(database)
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns, made.st_uid) == (made.st_ino, made.st_mtime_ns, os.geteuid())
    assert mode(closed) == 0o700


@as_root
@pytest.mark.parametrize(("mode_of_all", "is_reachable"), [(0o755, True), (0o700, False)])
def test_reach_is_judged_by_the_modes_of_files_too(elsewhere: Path, mode_of_all: int, is_reachable: bool) -> None:
    fake = Binaries(elsewhere, "18.0")
    for path in (fake.postgres, fake.initdb, fake.install / "lib/plpgsql.so", fake.install / "share/postgres.bki"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(mode_of_all)
    elsewhere.chmod(0o755)
    assert fake.are_reachable(DataDirectory(elsewhere).account) is is_reachable


@as_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="becomes another user by setpriv")
def test_who_is_not_root_runs_postgres_as_himself(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    read_all = "+dac_read_search"  # the interpreter may lie in root's home
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    own = folder / "own"
    server = Server(own, through=[*become, f"--inh-caps={read_all}", f"--ambient-caps={read_all}"])
    pid = server.until_up()
    assert Path(f"/proc/{pid}").stat().st_uid == NOBODY
    assert {path.stat().st_uid for path in folder.rglob("*")} == {NOBODY}
    assert mode(own) == 0o700
    server.end()


@as_root
async def test_root_runs_an_existing_cluster_as_its_owner(folder: Path) -> None:
    (folder / "postgres").mkdir()
    os.chown(folder / "postgres", NOBODY, NOBODY)
    assert DataDirectory(folder).account.uid == NOBODY


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")
@pytest.mark.skipif(not shutil.which("ps"), reason="compares with ps")
def test_ps_tells_of_a_process_what_proc_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = processes.process(os.getpid())
    monkeypatch.setattr(processes, "_has_proc", lambda: False)
    listed = processes.process(os.getpid())
    assert seen
    assert listed
    assert (listed.pid, listed.uid, listed.command) == (seen.pid, seen.uid, seen.command)
    assert (listed.folder, listed.executable) == (None, None)
    assert processes.process(4_000_000) is None
