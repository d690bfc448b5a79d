"""One turn of the demo agent: its steps, each really done, and what it says about them."""

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from acp import (
    RequestError,
    plan_entry,
    start_tool_call,
    text_block,
    tool_content,
    tool_diff_content,
    update_agent_message_text,
    update_agent_thought_text,
    update_plan,
    update_tool_call,
)
from acp.interfaces import Client
from acp.schema import Cost, McpServerStdio, PermissionOption, ToolCallUpdate, ToolKind, UsageUpdate

from server.agents.demo.mcp import call_tool
from server.agents.demo.script import parse
from server.agents.demo.shell import OUTPUT_BYTES, run_command
from server.agents.demo.transcript import Transcript

LISTING = "ls -la | head -n 20"

_CHUNK = 12
_SLOW_SECONDS = 0.25
_MAX_PLAN = 50
_WINDOW_TOKENS = 200_000
_KINDS: Mapping[str, ToolKind] = {kind: kind for kind in get_args(ToolKind)}
_OPTIONS = (
    PermissionOption(option_id="allow", name="Allow", kind="allow_once"),
    PermissionOption(option_id="always", name="Always allow", kind="allow_always"),
    PermissionOption(option_id="reject", name="Reject", kind="reject_once"),
)


class Rejected(Exception):
    """People said no to a question; the rest of the script is not done."""


class Outlet:
    """What the turn says, in small pieces with a pause after each, and how many characters that was."""

    def __init__(self, client: Client, session_id: str, delay_seconds: float) -> None:
        self.delay_seconds = delay_seconds
        self.characters = 0
        self.said = ""
        self.tokens = 0
        self._client = client
        self._session_id = session_id

    async def send(self, update: Any) -> None:
        await self._client.session_update(session_id=self._session_id, update=update)

    async def stream(self, text: str, make: Callable[[str], Any]) -> None:
        for start in range(0, len(text), _CHUNK):
            await self.send(make(text[start : start + _CHUNK]))
            await asyncio.sleep(self.delay_seconds)
        self.characters += len(text)

    async def ask(self, call: ToolCallUpdate) -> str | None:
        """The kind of the option that people chose, None when the question was cancelled."""
        reply = await self._client.request_permission(
            session_id=self._session_id, tool_call=call, options=list(_OPTIONS)
        )
        chosen = getattr(reply.outcome, "option_id", None)
        return next((option.kind for option in _OPTIONS if option.option_id == chosen), None)


class DemoTurn:
    """Runs a message's script in a space that it never leaves."""

    def __init__(
        self, outlet: Outlet, space: Path, transcript: Transcript, servers: Sequence[McpServerStdio] = ()
    ) -> None:
        self._servers = servers
        self._outlet = outlet
        self._space = space
        self._transcript = transcript
        self._is_last_word_said = False

    async def run(self, message: str) -> None:
        """Do the message's steps in order. RequestError when the script says `fail`."""
        steps = parse(message)
        for step in steps:
            if step.verb == "slow":
                self._outlet.delay_seconds = max(self._outlet.delay_seconds, _SLOW_SECONDS)
        work = [step for step in steps if step.verb != "slow"]
        try:
            if not work:
                await self._ordinary()
            for step in work:
                await _STEPS[step.verb](self, step.rest)
        except Rejected:
            await self._say("You rejected it, so I stop here.")
        if not self._is_last_word_said:
            await self._say("Done.")

    async def _ordinary(self) -> None:
        await self._think("The user wants something done. I look at the files in the space first, then answer.")
        name = await asyncio.to_thread(_first_text_file, self._space)
        found = "The space is empty: it holds no text file that I could read."
        if name is not None:
            text = await self._read(name)
            lines = text.splitlines()
            first = next((line.strip() for line in lines if line.strip()), "")
            found = f'I read {name}: {len(lines)} lines, {len(text)} characters. It begins with "{first[:80]}".'
        output, code = await self._run(LISTING)
        entries = [line for line in output.splitlines() if not line.startswith("total ")]
        await self._say(
            f"I had a look at the space. {found} Then I ran `{LISTING}`: it ended with exit code {code} and "
            f"listed {len(entries)} entries. I am the demo agent: I follow a fixed script and use no model, but the "
            "file and the command are real. Give me instructions, one per line, such as `run COMMAND` or `read PATH`."
        )

    async def _think(self, text: str) -> None:
        await self._outlet.stream(text, update_agent_thought_text)

    async def _say(self, text: str) -> None:
        self._outlet.said += f"{text}\n"
        await self._outlet.stream(text, update_agent_message_text)
        self._is_last_word_said = True

    async def _read(self, name: str) -> str:
        call = await self._open(f"Read {name}", "read", {"path": name})
        try:
            text = await asyncio.to_thread(_read_text, self._inside(name))
        except (OSError, ValueError) as error:
            await self._close(call, "failed", f"Cannot read {name}: {_reason(error)}")
            return ""
        await self._close(call, "completed", text)
        return text

    async def _write(self, rest: str) -> None:
        name, _, text = rest.partition(" ")
        text = text.replace("\\n", "\n") + "\n"
        call = await self._open(f"Write {name}", "edit", {"path": name, "content": text})
        try:
            path = self._inside(name)
            before = await asyncio.to_thread(_replace_text, path, text)
        except (OSError, ValueError) as error:
            await self._close(call, "failed", f"Cannot write {name}: {_reason(error)}")
            return
        diff = tool_diff_content(str(path), text, before)
        await self._outlet.send(update_tool_call(call, status="completed", content=[diff]))

    async def _run(self, command: str) -> tuple[str, int]:
        call = await self._open(command, "execute", {"command": command})

        async def show(output: str) -> None:
            content = [tool_content(text_block(output))]
            await self._outlet.send(update_tool_call(call, status="in_progress", content=content))

        output, code = await run_command(command, self._space, show)
        await self._close(call, "failed" if code else "completed", output, {"exit_code": code, "output": output})
        return output, code

    async def _ask(self, question: str) -> None:
        await self._permitted(question, "other")
        await self._say("You allowed it.")

    async def _permit(self, rest: str) -> None:
        kind, _, title = rest.partition(" ")
        if kind not in _KINDS:
            raise RequestError.invalid_params({"details": f"permit needs a kind of tool, not {kind}"})
        await self._permitted(title or kind, _KINDS[kind])

    async def _spend(self, rest: str) -> None:
        """Report tokens, and cents where they are named, as a model would have cost them: `spend 500 2.5`.

        As real agents do, it reports what the whole session has cost.
        """
        tokens, _, cents = rest.partition(" ")
        try:
            self._outlet.tokens += int(tokens)
            if cents:
                self._transcript.spend(float(cents))
            cost = Cost(amount=self._transcript.cents / 100, currency="USD") if cents else None
            used = UsageUpdate(session_update="usage_update", used=self._outlet.tokens, size=_WINDOW_TOKENS, cost=cost)
        except ValueError:
            raise RequestError.invalid_params({"details": f"spend needs tokens and cents, not {rest}"}) from None
        await self._outlet.send(used)

    async def _permitted(self, title: str, kind: ToolKind) -> None:
        """Ask whether a call of this kind may be done, which it is not."""
        call = _call_id()
        self._is_last_word_said = False
        chosen = await self._outlet.ask(ToolCallUpdate(tool_call_id=call, title=title, kind=kind, status="pending"))
        if chosen is None or not chosen.startswith("allow"):
            await self._close(call, "failed", "Rejected")
            raise Rejected
        await self._close(call, "completed", f"Allowed ({chosen})")

    async def _sleep(self, seconds: str) -> None:
        try:
            duration = float(seconds)
        except ValueError:
            raise RequestError.invalid_params({"details": f"sleep needs seconds, not {seconds}"}) from None
        await asyncio.sleep(max(0.0, min(duration, 3600.0)))

    async def _fail(self, text: str) -> None:
        raise RequestError(-32603, text)

    async def _crash(self, _: str) -> None:
        os._exit(3)

    async def _recall(self, _: str) -> None:
        await self._say(f"I remember {self._transcript.heard} messages, this one included.")

    async def _plan(self, steps: str) -> None:
        names = [name.strip() for name in steps.split(";") if name.strip()][:_MAX_PLAN]
        for done in range(len(names) + 1):
            states = ["completed"] * done + ["in_progress"] + ["pending"] * len(names)
            entries = [plan_entry(name, status=state) for name, state in zip(names, states, strict=False)]  # type: ignore[arg-type]
            await self._outlet.send(update_plan(entries))
            await asyncio.sleep(self._outlet.delay_seconds)

    async def _tool(self, rest: str) -> None:
        name, _, arguments = rest.partition(" ")
        call = await self._open(f"Call {name}", "other", {"tool": name, "arguments": arguments})
        try:
            text, is_error = await call_tool(self._servers, name, arguments)
        except (OSError, ValueError) as error:
            text, is_error = f"Cannot call {name}: {_reason(error)}", True
        await self._close(call, "failed" if is_error else "completed", text)

    async def _open(self, title: str, kind: Any, args: dict[str, str]) -> str:
        call = _call_id()
        self._is_last_word_said = False
        await self._outlet.send(start_tool_call(call, title, kind=kind, status="pending", raw_input=args))
        await self._outlet.send(update_tool_call(call, status="in_progress"))
        return call

    async def _close(self, call: str, status: Any, text: str, raw: Any = None) -> None:
        content = [tool_content(text_block(text))]
        await self._outlet.send(update_tool_call(call, status=status, content=content, raw_output=raw))

    def _inside(self, name: str) -> Path:
        """The path in the space, links followed. ValueError for one that leads out of it."""
        path = (self._space / name).resolve()
        if not path.is_relative_to(self._space):
            raise ValueError("it is outside the space")
        return path


async def _read_step(turn: DemoTurn, rest: str) -> None:
    await turn._read(rest)


async def _run_step(turn: DemoTurn, rest: str) -> None:
    await turn._run(rest)


_STEPS: dict[str, Callable[[DemoTurn, str], Awaitable[None]]] = {
    "think": DemoTurn._think,
    "say": DemoTurn._say,
    "read": _read_step,
    "write": DemoTurn._write,
    "run": _run_step,
    "ask": DemoTurn._ask,
    "permit": DemoTurn._permit,
    "spend": DemoTurn._spend,
    "sleep": DemoTurn._sleep,
    "fail": DemoTurn._fail,
    "crash": DemoTurn._crash,
    "plan": DemoTurn._plan,
    "recall": DemoTurn._recall,
    "tool": DemoTurn._tool,
}


def _call_id() -> str:
    return f"call_{uuid.uuid4().hex[:16]}"


def _first_text_file(space: Path) -> str | None:
    """The first regular file by name that holds readable text."""
    for entry in sorted(os.scandir(space), key=lambda entry: entry.name):
        if entry.is_file(follow_symlinks=False):
            try:
                _read_text(Path(entry.path))
            except (OSError, ValueError):
                continue
            return entry.name
    return None


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file")
    with path.open("rb") as file:
        data = file.read(OUTPUT_BYTES)
    if b"\0" in data:
        raise ValueError("it is not text")
    # The bound may fall into the middle of a character.
    return data.decode(errors="ignore" if len(data) == OUTPUT_BYTES else "strict")


def _replace_text(path: Path, text: str) -> str | None:
    before = _read_text(path) if path.is_file() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return before


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
