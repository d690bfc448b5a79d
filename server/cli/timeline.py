"""Events and signals as they come, on a terminal, in a log, or as JSON lines."""

from typing import TYPE_CHECKING, Any

from server.cli.output import Output

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from missionstream_client import Event, Signal

_SHOWN_SIGNALS = {"thinking": "thinking", "text_delta": "saying", "mission_activity": "doing"}
_LIVE_LINES = 5


class Timeline:
    """Prints each event once it is told of it. On a terminal the newest signal is kept below the events.

    With `has_titles` a line names the mission whenever the next event is another one's.
    """

    def __init__(self, output: Output, *, has_titles: bool = False) -> None:
        self.count = 0
        self._output = output
        self._has_titles = has_titles
        self._titles: dict[str | None, str] = {}
        self._mission: str | None = ""
        self._signals: dict[tuple[str | None, str, str | None], Signal] = {}
        self._live: Live | None = None

    def event(self, event: "Event") -> None:
        """Show a durable event."""
        self.count += 1
        if self._output.is_json:
            self._output.line(stored(event))
            return
        from server.cli.render import event_text

        self._settle(event)
        if self._has_titles:
            self._name(event)
        console = self._output.data
        console.print(event_text(event, width=console.width), soft_wrap=True)

    def signal(self, signal: "Signal") -> None:
        """Show a passing value: as a JSON line, or on a terminal until something newer takes its place."""
        if self._output.is_json:
            self._output.line({**signal.data, "event_type": signal.event_type, "signal": True})
            return
        if not self._output.data.is_terminal:
            return
        if signal.event_type in _SHOWN_SIGNALS:
            self._signals[signal.mission_id, signal.event_type, signal.run_id] = signal
        elif signal.event_type == "status" and signal.data.get("state") == "idle":
            self._signals = {key: old for key, old in self._signals.items() if key[0] != signal.mission_id}
        self._refresh()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _settle(self, event: "Event") -> None:
        """Events take the place of the signals that are older, but for those of another run."""
        run_id = event.metadata.get("run_id")
        self._signals = {
            key: old
            for key, old in self._signals.items()
            if key[0] != event.mission_id
            or (old.after or 0) >= event.sequence
            or (run_id is not None and old.run_id not in (None, run_id))
        }
        self._refresh()

    def _refresh(self) -> None:
        if self._live is None:
            if not self._signals:
                return
            from rich.live import Live

            self._live = Live(console=self._output.data, transient=True, refresh_per_second=12)
            self._live.start()
        self._live.update(signal_text(list(self._signals.values())))

    def _name(self, event: "Event") -> None:
        if event.event_type in ("mission_created", "mission_title_changed"):
            from server.cli.render import plain

            self._titles[event.mission_id] = plain(event.content)
        if event.mission_id == self._mission:
            return
        self._mission = event.mission_id
        title = self._titles.get(event.mission_id)
        name = event.mission_id or "the workspace itself"
        self._output.data.print(f"── {name}{'  ' + title if title else ''}", style="dim", soft_wrap=True)


def signal_text(signals: "list[Signal]") -> "RenderableType":
    """The newest lines of what agents are just doing and saying."""
    from rich.text import Text

    from server.cli.render import plain

    text = Text(style="dim")
    for signal in signals:
        words = plain(signal.content or str(signal.data.get("label") or ""))
        tail = words[-400:].strip().splitlines()[-_LIVE_LINES:]
        text.append(f"\n{_SHOWN_SIGNALS[signal.event_type]}: ", style="bold")
        text.append("\n".join(tail), style="italic" if signal.event_type == "thinking" else "")
    return text


def stored(event: "Event") -> dict[str, Any]:
    """An event as the log's pages give it; `id` is its position."""
    import msgspec

    return {"id": event.position, **msgspec.to_builtins(event)}
