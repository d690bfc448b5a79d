"""Where a command's words go: data to stdout, for people or as JSON; messages to stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPED_WIDTH = 160
"""Columns when nobody looks at a terminal: tables and lines stay whole for grep and for logs."""


class Output:
    """One command's output. Colours only on a terminal, and never with NO_COLOR."""

    def __init__(self) -> None:
        self.is_json = False
        self.is_debug = False

    @cached_property
    def data(self) -> "Console":
        """Stdout for people; JSON goes through value() and line() instead."""
        return _console(is_stderr=False)

    @cached_property
    def notes(self) -> "Console":
        """Stderr."""
        return _console(is_stderr=True)

    def show(self, renderable: "RenderableType") -> None:
        """Print data for people."""
        self.data.print(renderable, soft_wrap=isinstance(renderable, str))

    def value(self, value: Any) -> None:
        """Print one JSON value: spread out on a terminal, else on one line."""
        import msgspec

        encoded = msgspec.json.encode(value, enc_hook=str)
        _write(msgspec.json.format(encoded, indent=2) if sys.stdout.isatty() else encoded)

    def line(self, value: Any) -> None:
        """Print one JSON value as a line of its own."""
        import msgspec

        _write(msgspec.json.encode(value, enc_hook=str))

    def say(self, text: str, *, style: str = "") -> None:
        """Tell a person something on stderr."""
        self.notes.print(text, style=style, soft_wrap=True)

    def fail(self, text: str, next_step: str | None) -> None:
        """Say what went wrong and what to do, on stderr."""
        from rich.text import Text

        line = Text("Error: ", style="bold red")
        line.append(text.strip(), style="default not bold")
        self.notes.print(line, soft_wrap=True)
        if next_step:
            self.notes.print(f"  {next_step}", style="dim", soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner on stderr while a person waits; nothing where there is no terminal."""
        if not self.notes.is_terminal:
            yield
            return
        with self.notes.status(text):
            yield


def _console(*, is_stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if is_stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(stderr=is_stderr, highlight=False, markup=False, emoji=False, width=width)


def _write(encoded: bytes) -> None:
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()
