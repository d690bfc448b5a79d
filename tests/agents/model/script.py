"""What the scripted model says in a turn, whatever the wire: it thinks, speaks, calls the shell, and answers."""

import re
from typing import Any

import msgspec

_SHELL = re.compile(r"(?i)(^|_)(bash|shell|exec)|terminal|^run_.*command")
_WRITER = re.compile(r"(?i)^write(_file)?$")
_COMMAND_KEYS = ("command", "cmd")
_PATH_KEYS = ("file_path", "filePath", "path")
# Codex's model asks people for leave to work outside of the sandbox by these arguments.
_ESCALATION = {"sandbox_permissions": "require_escalated", "justification": "May I run this command?"}
_FILLERS: dict[str, Any] = {"string": "Run the command", "boolean": False, "number": 60_000, "integer": 60_000}


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A model's part in one turn: it runs the command, or writes `text` into the file `path`, or answers at once.

    With a `refusal`, an HTTP status, it refuses every request.
    """

    thought: str = "A tool is needed here."
    text: str = "I will use a tool now."
    command: str | None = None
    path: str | None = None
    conclusion: str = "The tool has answered."
    answer: str = "All done."
    refusal: int = 0


class Offer(msgspec.Struct, frozen=True):
    """A tool that a request offers, with the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says, read from its wire: `results` are tool results that came after the model's last words."""

    model: str
    offers: tuple[Offer, ...] = ()
    results: tuple[str, ...] = ()
    is_streamed: bool = True


class Call(msgspec.Struct, frozen=True):
    """The model's call of a tool."""

    id: str
    name: str
    arguments: dict[str, Any]


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """One reply of the model: thought, text and call come in this order; empty ones are left out.

    `number` counts the server's replies: agents take two messages with one id for the same one.
    """

    number: int
    thought: str = ""
    text: str = ""
    call: Call | None = None


USAGE = {"input": 120, "output": 30}
"""Tokens that every reply reports."""


def speak(script: Script, asked: Asked, number: int, *, is_first: bool) -> Speech:
    """The reply that the script has for a request; `is_first` while the tool has not been called.

    Requests beside the turn, such as for a title, offer no such tool or come when all has been said: they get a title.
    """
    call = _call(script, asked.offers, f"call_{number:04}")
    if shell_of(asked.offers) is None:
        return Speech(number=number, text="A short title")
    if call is None:
        return Speech(number=number, thought=script.thought, text=script.answer)
    if asked.results:
        return Speech(number=number, thought=script.conclusion, text=script.answer)
    if not is_first:
        return Speech(number=number, text="A short title")
    return Speech(number=number, thought=script.thought, text=script.text, call=call)


def shell_of(offers: tuple[Offer, ...]) -> Offer | None:
    """The tool that runs commands: by its name, and by an argument that takes one."""
    return next((offer for offer in offers if _SHELL.search(offer.name) and _key(offer, _COMMAND_KEYS)), None)


def writer_of(offers: tuple[Offer, ...]) -> Offer | None:
    """The tool that writes whole files."""
    return next((offer for offer in offers if _WRITER.search(offer.name) and _key(offer, _PATH_KEYS)), None)


def _call(script: Script, offers: tuple[Offer, ...], call_id: str) -> Call | None:
    shell, writer = shell_of(offers), writer_of(offers)
    if script.command is not None and shell:
        return Call(call_id, shell.name, _arguments(shell, _command(shell, script.command)) | _escalation(shell))
    if script.path is not None and writer:
        said = {_key(writer, _PATH_KEYS): script.path, "content": script.text}
        return Call(call_id, writer.name, _arguments(writer, said))
    return None


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
