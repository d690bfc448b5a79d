"""What the scripted model says in a turn, whatever the wire: it thinks, speaks, calls the shell, and answers."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_SHELL = re.compile(r"(?i)(^|_)(bash|shell|exec)|terminal|^run_.*command")
_WRITER = re.compile(r"(?i)^write(_file)?$")
_READER = re.compile(r"(?i)^read(_file)?$")
_COMMAND_KEYS = ("command", "cmd")
_PATH_KEYS = ("file_path", "filePath", "path", "target_file", "absolute_path")
# One agent has a single tool for those of all MCP servers, and takes the server from the tool's name.
_GATEWAY = "use_tool"
# Codex's model asks people for leave to work outside of the sandbox by these arguments.
_ESCALATION = {"sandbox_permissions": "require_escalated", "justification": "May I run this command?"}
_FILLERS: dict[str, Any] = {"string": "Run the command", "boolean": False, "number": 60_000, "integer": 60_000}


class McpCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of an MCP server's tool, as people name it: how a model has to spell it, it reads from what is offered."""

    server: str
    tool: str
    arguments: dict[str, Any]


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A model's part in one turn: it reads the file `read`, calls `mcp`, runs the command, and writes `text` into the
    file `path`, in this order; whatever is not given or has no tool it leaves out. Then it answers.

    With a `refusal`, an HTTP status, it refuses every request.
    """

    thought: str = "A tool is needed here."
    text: str = "I will use a tool now."
    read: str | None = None
    mcp: McpCall | None = None
    command: str | None = None
    path: str | None = None
    conclusion: str = "The tool has answered."
    answer: str = "All done."
    refusal: int = 0


class Offer(msgspec.Struct, frozen=True):
    """A tool that a request offers, with the JSON schema of its arguments; one wire puts some into a `namespace`."""

    name: str
    schema: dict[str, Any]
    namespace: str | None = None


class Said(msgspec.Struct, frozen=True):
    """A text of the conversation: of the "user" or of the "assistant"."""

    by: str
    text: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says, read from its wire: `results` are tool results that came after the model's last words,
    `said` is the whole conversation without tools.
    """

    model: str
    offers: tuple[Offer, ...] = ()
    results: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()
    is_streamed: bool = True

    def has_said(self, by: str, text: str) -> bool:
        """Whether one of the texts of this speaker holds the given one."""
        return any(said.by == by and text in said.text for said in self.said)


class Call(msgspec.Struct, frozen=True):
    """The model's call of a tool."""

    id: str
    name: str
    arguments: dict[str, Any]
    namespace: str | None = None


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """One reply of the model: thought, text and call come in this order; empty ones are left out.

    `number` counts the server's replies: agents take two messages with one id for the same one.
    """

    number: int
    thought: str = ""
    text: str = ""
    call: Call | None = None


SPEAKERS = frozenset({"user", "assistant"})
USAGE = {"input": 120, "output": 30}
"""Tokens that every reply reports."""


def speak(script: Script, asked: Asked, number: int, *, called: int) -> Speech:
    """The reply that the script has for a request; `called` tells how many tools it has called already.

    Requests beside the turn, such as for a title, offer no such tool or come when all has been said: they get a title.
    """
    calls = list(_calls(script, asked.offers, f"call_{number:04}"))
    if shell_of(asked.offers) is None:
        return Speech(number=number, text="A short title")
    if not calls:
        return Speech(number=number, thought=script.thought, text=script.answer)
    if called and not asked.results:
        return Speech(number=number, text="A short title")
    if called < len(calls):
        return Speech(number=number, thought=script.thought, text=script.text, call=calls[called])
    return Speech(number=number, thought=script.conclusion, text=script.answer)


def shell_of(offers: tuple[Offer, ...]) -> Offer | None:
    """The tool that runs commands: by its name, and by an argument that takes one."""
    return next((offer for offer in offers if _SHELL.search(offer.name) and _key(offer, _COMMAND_KEYS)), None)


def writer_of(offers: tuple[Offer, ...]) -> Offer | None:
    """The tool that writes whole files."""
    return next((offer for offer in offers if _WRITER.search(offer.name) and _key(offer, _PATH_KEYS)), None)


def reader_of(offers: tuple[Offer, ...]) -> Offer | None:
    """The tool that reads whole files."""
    return next((offer for offer in offers if _READER.search(offer.name) and _key(offer, _PATH_KEYS)), None)


def spelled(offers: tuple[Offer, ...], mcp: McpCall) -> Offer | None:
    """The tool of an MCP server among those that are offered under names of their own."""
    return next(
        (
            offer
            for offer in offers
            if offer.name.endswith(mcp.tool) and mcp.server in f"{offer.namespace or ''}{offer.name}"
        ),
        None,
    )


def _calls(script: Script, offers: tuple[Offer, ...], call_id: str) -> Iterator[Call]:
    shell, writer, reader = shell_of(offers), writer_of(offers), reader_of(offers)
    if script.read is not None and reader:
        yield Call(call_id, reader.name, _arguments(reader, {_key(reader, _PATH_KEYS): script.read}))
    if script.mcp is not None:
        yield from _mcp_call(script.mcp, offers, call_id)
    if script.command is not None and shell:
        yield Call(call_id, shell.name, _arguments(shell, _command(shell, script.command)) | _escalation(shell))
    if script.path is not None and writer:
        said = {_key(writer, _PATH_KEYS): script.path, "content": script.text}
        yield Call(call_id, writer.name, _arguments(writer, said))


def _mcp_call(mcp: McpCall, offers: tuple[Offer, ...], call_id: str) -> Iterator[Call]:
    tool = spelled(offers, mcp)
    gateway = next((offer for offer in offers if offer.name == _GATEWAY), None)
    if tool is not None:
        yield Call(call_id, tool.name, mcp.arguments, tool.namespace)
    elif gateway is not None:
        yield Call(call_id, gateway.name, {"tool_name": f"{mcp.server}__{mcp.tool}", "tool_input": mcp.arguments})


def pieces(text: str, size: int = 12) -> list[str]:
    """The text as it is streamed."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def _properties(offer: Offer) -> dict[str, Any]:
    found = offer.schema.get("properties")
    return found if isinstance(found, dict) else {}


def _key(offer: Offer, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in _properties(offer)), None)


def _command(shell: Offer, command: str) -> dict[str | None, Any]:
    key = _key(shell, _COMMAND_KEYS)
    takes_words = key is not None and _properties(shell)[key].get("type") == "array"
    return {key: ["bash", "-lc", command] if takes_words else command}


def _escalation(shell: Offer) -> dict[str, Any]:
    return _ESCALATION if set(_ESCALATION) <= set(_properties(shell)) else {}


def _arguments(offer: Offer, said: dict[str | None, Any]) -> dict[str, Any]:
    """What is said, with something for every argument that is required besides."""
    arguments: dict[str, Any] = {key: value for key, value in said.items() if key}
    for name in offer.schema.get("required", ()):
        arguments.setdefault(name, _filler(_properties(offer).get(name, {})))
    return arguments


def _filler(schema: dict[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    return schema.get("default", _FILLERS.get(str(schema.get("type")), "Run the command"))
