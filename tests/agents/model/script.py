"""What the scripted model says in a turn, whatever the wire: it thinks, speaks, calls the shell, and answers."""

import re
from typing import Any

import msgspec

_SHELL = re.compile(r"(?i)(^|_)(bash|shell|exec)|terminal|^run_.*command")
_COMMAND_KEYS = ("command", "cmd")
# Codex's model asks people for leave to work outside of the sandbox by these arguments.
_ESCALATION = {"sandbox_permissions": "require_escalated", "justification": "May I run this command?"}
_FILLERS: dict[str, Any] = {"string": "Run the command", "boolean": False, "number": 60_000, "integer": 60_000}


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A model's part in one turn. Without a command it answers at once; with `has_bad_key` it refuses every request."""

    thought: str = "A command is needed here."
    text: str = "I will run a command now."
    command: str | None = None
    conclusion: str = "The command has answered."
    answer: str = "All done."
    has_bad_key: bool = False


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
    """One reply of the model: thought, text and call come in this order; empty ones are left out."""

    thought: str = ""
    text: str = ""
    call: Call | None = None


USAGE = {"input": 120, "output": 30}
"""Tokens that every reply reports."""


def speak(script: Script, asked: Asked, call_id: str, *, is_first: bool) -> Speech:
    """The reply that the script has for a request; `is_first` while the command has not been called.

    Requests beside the turn, such as for a title, offer no shell or come when all has been said: they get a title.
    """
    shell = shell_of(asked.offers)
    if shell is None:
        return Speech(text="A short title")
    if script.command is None:
        return Speech(thought=script.thought, text=script.answer)
    if asked.results:
        return Speech(thought=script.conclusion, text=script.answer)
    if not is_first:
        return Speech(text="A short title")
    call = Call(call_id, shell.name, _arguments(shell.schema, script.command))
    return Speech(thought=script.thought, text=script.text, call=call)


def shell_of(offers: tuple[Offer, ...]) -> Offer | None:
    """The tool that runs commands: by its name, and by an argument that takes one."""
    fitting = (offer for offer in offers if _SHELL.search(offer.name) and _command_key(offer.schema))
    return next(fitting, None)


def pieces(text: str, size: int = 12) -> list[str]:
    """The text as it is streamed."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _command_key(schema: dict[str, Any]) -> str | None:
    return next((key for key in _COMMAND_KEYS if key in _properties(schema)), None)


def _arguments(schema: dict[str, Any], command: str) -> dict[str, Any]:
    properties, key = _properties(schema), _command_key(schema)
    assert key is not None
    takes_words = properties[key].get("type") == "array"
    arguments: dict[str, Any] = {key: ["bash", "-lc", command] if takes_words else command}
    for name in schema.get("required", ()):
        arguments.setdefault(name, _filler(properties.get(name, {})))
    if set(_ESCALATION) <= set(properties):
        arguments |= _ESCALATION
    return arguments


def _filler(schema: dict[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    return schema.get("default", _FILLERS.get(str(schema.get("type")), "Run the command"))
