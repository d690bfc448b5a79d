"""How the demo speaks: numbered steps, events as they come, and on a terminal a live part below them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from missionstream_client import Event, Signal
from server.cli.render import event_text, plain


class Stage:
    """Where a demonstration is shown. `counts` gives the last line of the live part."""

    def __init__(self, console: Console, *, steps: int, counts: Callable[[], str]) -> None:
        self.console = console
        self.saying = ""
        """What the agent has said since its last event."""
        self._steps = steps
        self._counts = counts
        self._step = 0
        self._live: Live | None = None
        self._waiting_for = ""

    def begin(self, title: str, words: str) -> None:
        """Announce the next step."""
        self._step += 1
        line = Text(f"\n{self._step}/{self._steps} ", style="bold")
        line.append(title, style="bold cyan")
        line.append(f": {words}")
        self.console.print(line, soft_wrap=True)

    def note(self, words: str) -> None:
        """Say something about the step."""
        self.tell(f"    {words}", "dim")

    def tell(self, words: str, style: str = "") -> None:
        self.console.print(words, style=style, soft_wrap=True)

    def event(self, event: Event) -> None:
        """Show an event."""
        self.saying = ""
        self.console.print(event_text(event, width=self.console.width), soft_wrap=True)

    def signal(self, signal: Signal) -> None:
        """Hear of a passing value; of these only what the agent says is shown."""
        if signal.event_type == "text_delta":
            self.saying = plain(signal.content)

    def cut_off(self) -> None:
        """The agent will not go on; without a live part nobody has seen yet what it said."""
        if self.saying and not self.console.is_terminal:
            self.note(f"The agent is just saying: {self.saying} …")
        self.saying = ""

    def sum_up(self) -> None:
        """Without a live part, tell the counts in a line."""
        if not self.console.is_terminal:
            self.note(f"Events so far: {self._counts()}")

    @contextmanager
    def waiting(self, words: str) -> Iterator[None]:
        """A spinner, or a line in the live part, or just a note where there is no terminal."""
        if not self.console.is_terminal:
            self.note(words)
            yield
        elif self._live is not None:
            self._waiting_for = words
            yield
            self._waiting_for = ""
        else:
            with self.console.status(words):
                yield

    @contextmanager
    def live(self) -> Iterator[None]:
        """Below the events: what the agent is just saying, and the counts."""
        if not self.console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._below, console=self.console, transient=True, refresh_per_second=12
        ) as self._live:
            yield
        self._live = None

    def _below(self) -> Text:
        text = Text()
        if self.saying:
            text.append(f"    {self.saying}▌\n", style="green")
        if self._waiting_for:
            text.append(f"    {self._waiting_for}\n", style="yellow")
        text.append(f"    {self._counts()}", style="bold")
        return text
