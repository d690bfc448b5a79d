"""The sandbox around real agents: what they cannot see, what dies with them, and what happens without bubblewrap."""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from msgspec import structs

from server.agents.process import Launch
from server.agents.programs import folders_of
from server.agents.sandbox import Sandbox, wrapped
from server.agents.spawning import spawn

_LOOK = Sandbox(policy="prefer", path=os.environ["PATH"]).look()
needs_bubblewrap = pytest.mark.skipif(_LOOK[0] is None, reason=f"no sandbox here: {_LOOK[1]}")


@pytest.fixture
def server_data(tmp_path: Path) -> Path:
    """A data directory with a secret, another mission's home, and another space."""
    for name in ("owner-token", "postgres/socket", "homes/other/session.json", "spaces/w/other/plan.txt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("for nobody")
    return tmp_path / "data"


@pytest.fixture
def shut_in(demo: Launch, server_data: Path) -> Launch:
    """The demo agent with its home and space in the data directory, and no start without a sandbox."""
    space, home = server_data / "spaces/w/own", server_data / "homes/own"
    space.mkdir(parents=True)
    sandbox = structs.replace(demo.sandbox, policy="require", hidden=(server_data,))
    return structs.replace(demo, space=space, home=home, sandbox=sandbox)


def _broken(tmp_path: Path) -> str:
    """A PATH that begins with a bubblewrap which starts nothing."""
    fake = tmp_path / "broken" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    return f"{fake.parent}:{os.environ['PATH']}"


@needs_bubblewrap
async def test_an_agent_sees_nothing_of_the_server_and_of_other_missions(turn, sink, shut_in, server_data, living):
    for name in ("owner-token", "postgres/socket", "homes/other/session.json", "spaces/w/other/plan.txt"):
        assert (server_data / name).is_file()
    await turn(shut_in, f"run find {server_data} -type f -o -type s; ls {server_data} {server_data}/homes")
    found = sink.results()[0].split()
    assert "own" in found
    assert not {"owner-token", "postgres", "other"} & set(found)


@needs_bubblewrap
async def test_a_space_around_the_data_directory_does_not_show_it(turn, sink, shut_in, server_data):
    around = structs.replace(shut_in, space=server_data.parent)
    await turn(around, f"run ls {server_data}; touch beside.txt")
    assert sink.results()[0].split() == ["homes"]
    assert (server_data.parent / "beside.txt").exists()


@needs_bubblewrap
async def test_an_agent_writes_only_to_its_space_and_its_home(turn, sink, shut_in):
    program = Path(sys.executable).parent / "agent-was-here"
    await turn(shut_in, f'run touch here.txt "$HOME/there.txt"\nrun touch {program}\nrun touch /usr/agent-was-here')
    assert (shut_in.space / "here.txt").exists()
    assert (shut_in.home / "there.txt").exists()
    assert [draft.metadata["exit_code"] for draft in sink.of("tool_result")] == [0, 1, 1]
    assert "Read-only file system" in sink.results()[1]
    assert not program.exists()


@needs_bubblewrap
async def test_an_agent_sees_no_process_but_its_own(turn, sink, shut_in):
    with tempfile.NamedTemporaryFile(dir="/tmp") as file:
        await turn(shut_in, f"run ls -d /proc/[0-9]* | wc -l; ls {file.name}")
    processes, _, answer = sink.results()[0].partition("\n")
    assert int(processes) < 10
    assert "No such file" in answer


_DAEMON = """
prompt = until_prompt()
daemon = "import time\\nopen('daemon', 'w').close()\\ntime.sleep(300)"
# neither the group nor the mark of the run leads to it
subprocess.Popen([sys.executable, "-c", daemon], env={"MISSIONSTREAM_TEST_DAEMON": os.getcwd()}, start_new_session=True)
while not os.path.exists("daemon"):
    time.sleep(0.01)
text("it runs")
"""


def _daemons(space: Path) -> list[int]:
    mark = f"MISSIONSTREAM_TEST_DAEMON={space}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@needs_bubblewrap
async def test_a_daemon_that_left_group_and_mark_dies_with_the_turn(turn, sink, scripted, space, living):
    sandbox = Sandbox(policy="require", path=os.environ["PATH"])
    launch = scripted(_DAEMON + "time.sleep(300)", sandbox=sandbox)
    cancel = asyncio.Event()
    running = asyncio.create_task(turn(launch, cancel=cancel, cancel_seconds=0.1))
    await sink.until(lambda sink: bool(sink.bodies("text_delta")))
    assert len(_daemons(space)) == 1
    cancel.set()
    assert (await running).text == "it runs"
    assert _daemons(space) == []


@needs_bubblewrap
async def test_one_kill_of_the_group_leaves_nothing(scripted, space, living):
    body = _DAEMON.replace("prompt = until_prompt()", "") + "time.sleep(300)"
    process = await spawn(scripted(body, sandbox=Sandbox(policy="require", path=os.environ["PATH"])))
    await living.until(lambda _: len(_daemons(space)) == 1)
    os.killpg(process.pid, signal.SIGKILL)
    await process.exited()
    await living.until(lambda pids: pids == [] and _daemons(space) == [])
    await process.close()
    process.release()


@needs_bubblewrap
async def test_an_agent_in_the_sandbox_has_bounds_and_can_say_goodbye(scripted, space, living):
    launch = scripted(
        """
        import resource, signal
        def goodbye(*_):
            open("goodbye", "w").close()
            os._exit(0)
        signal.signal(signal.SIGTERM, goodbye)
        open("bounds", "w").write(str(resource.getrlimit(resource.RLIMIT_CORE)))
        os.rename("bounds", "told")
        time.sleep(300)
        """,
        sandbox=Sandbox(policy="require", path=os.environ["PATH"]),
    )
    process = await spawn(launch)
    await living.until(lambda _: (space / "told").exists())
    assert (space / "told").read_text() == "(0, 0)"
    await process.close(exit_seconds=0.1, term_seconds=5)
    process.release()
    assert (space / "goodbye").exists()


@needs_bubblewrap
async def test_a_signal_that_ended_an_agent_is_told_through_the_sandbox(turn, scripted):
    launch = scripted(
        "until_prompt()\nos.kill(os.getpid(), 9)", sandbox=Sandbox(policy="require", path=os.environ["PATH"])
    )
    assert "(signal 9)" in (await turn(launch)).error


async def test_where_a_sandbox_is_required_nothing_starts_without_one(turn, sink, demo, tmp_path, space):
    for path, why in (("", "is not installed"), (_broken(tmp_path), "No permissions to create a new namespace")):
        launch = structs.replace(demo, sandbox=structs.replace(demo.sandbox, policy="require", path=path))
        outcome = await turn(launch, "run touch started")
        assert outcome.reason == "failed"
        assert why in outcome.error
        assert "apt-get install bubblewrap" in outcome.error
        assert "MISSIONSTREAM_AGENT_SANDBOX" in outcome.error
    assert sink.sandboxes == []
    assert not (space / "started").exists()


async def test_where_one_is_preferred_the_agent_starts_without_it(turn, sink, demo, tmp_path, space):
    sandbox = structs.replace(demo.sandbox, policy="prefer", path=_broken(tmp_path))
    outcome = await turn(structs.replace(demo, sandbox=sandbox), "run touch started")
    assert outcome.success
    assert sink.sandboxes == ["none"]
    assert (space / "started").exists()


async def test_a_bubblewrap_that_does_not_work_is_tried_once(tmp_path):
    path = _broken(tmp_path)
    fake, tries = tmp_path / "broken/bwrap", tmp_path / "tries"
    fake.write_text(f"#!/bin/sh\necho tried >> {tries}\nexit 1\n")
    sandbox = Sandbox(policy="prefer", path=path)
    assert [await sandbox.program() for _ in range(3)] == [None] * 3
    assert tries.read_text().split() == ["tried"]


def _installed(prefix: Path) -> Path:
    """A program as npm installs one globally: a link in `bin` to a script of its package."""
    script = prefix / "lib/node_modules/@maker/agent/dist/index.js"
    script.parent.mkdir(parents=True)
    script.write_text("#!/usr/bin/env node\n")
    script.chmod(0o755)
    (prefix / "bin").mkdir()
    (prefix / "bin/agent").symlink_to("../lib/node_modules/@maker/agent/dist/index.js")
    return prefix / "bin"


def test_a_program_needs_its_package_and_its_interpreter(tmp_path):
    path = _installed(tmp_path / "npm")
    node = tmp_path / "node/bin/node"
    node.parent.mkdir(parents=True)
    node.write_bytes(b"\x7fELF")
    node.chmod(0o755)
    found = folders_of("agent", f"{path}:{node.parent}")
    assert found == [path, tmp_path / "npm/lib", tmp_path / "npm/lib/node_modules", node.parent]


def test_a_program_in_a_home_shows_nothing_else_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert tmp_path not in folders_of("agent", str(tmp_path))
    assert program in folders_of(str(program), "")
    assert folders_of("unknown", str(tmp_path)) == []


def test_the_python_of_a_virtual_environment_needs_both_its_prefixes():
    found = folders_of(sys.executable, "")
    real = Path(sys.executable).resolve()
    assert {Path(sys.executable).parent, real.parent} <= set(found)


def test_what_lies_deeper_is_mounted_later(tmp_path):
    (tmp_path / "tools").mkdir()
    line = wrapped(
        "bwrap",
        ["agent"],
        space=tmp_path / "data/spaces/own",
        home=tmp_path / "data/homes/own",
        readable=[tmp_path, tmp_path / "tools", tmp_path / "absent"],
        hidden=[tmp_path / "data"],
    )
    places = [line.index(str(path)) for path in (tmp_path, tmp_path / "data", tmp_path / "data/homes/own")]
    assert places == sorted(places)
    assert str(tmp_path / "absent") not in line
    assert line[-2:] == ["--", "agent"]
