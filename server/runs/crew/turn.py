"""One running turn of a crew's agent: who works, on what, and the words that count in the end."""

from collections.abc import Sequence

from msgspec.json import Decoder

from server.missions.crew import KIND, Mission
from server.missions.crew.events import RunStarted
from server.runs.crew import handoff, verdict
from server.runs.turn import Turn
from storage.writer import Writers
from streams.event import Draft, Event
from streams.hub import Hub

MAX_MESSAGES = 8
_run_started = Decoder(RunStarted)


class CrewTurn(Turn):
    """A turn of a crew's agent, begun by a run_started. `plan` is the agent's steps to be done.

    `messages` are those of its messages that may have a hand-off or a verdict, the newest MAX_MESSAGES of them, and the
    last one of all. An agent that uses a tool after its hand-off has still handed off.
    """

    def __init__(self, started: Event, seat: str, writers: Writers, hub: Hub) -> None:
        super().__init__(started.workspace_id, started.stream_id, KIND, started, writers, hub)
        run = _run_started.decode(started.metadata)
        self.purpose = run.purpose
        self.crew_agent_id = self.agent_id = run.agent_id
        self.task_id = run.task_id
        self.seat = seat
        self.messages: list[str] = []
        self.plan: list[str] = []
        self._heard: set[str] = set()
        marks = {"run_id": run.run_id, "task_id": run.task_id, "agent_id": run.agent_id}
        self.marks = {name: str(value) for name, value in marks.items() if value is not None}

    def goes_on(self, state: Mission) -> bool:
        """Whether the mission, as it was after the turn began, still knows of it."""
        if self.task_id is None:
            return state.run is not None and state.run.id == self.run_id
        task = state.tasks.get(self.task_id)
        return task is not None and task.run_id == self.run_id

    async def record(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            if draft.type == "assistant_message":
                self._hear(draft)
            elif draft.metadata.get("kind") == "plan":
                self.plan = [step["content"] for step in draft.metadata["entries"] if step["status"] != "completed"]
        await super().record(drafts)

    def _hear(self, draft: Draft) -> None:
        if draft.dedupe_key is not None:
            if draft.dedupe_key in self._heard:  # its end is tried again
                return
            self._heard.add(draft.dedupe_key)
        if self.messages and not _may_count(self.messages[-1]):
            self.messages.pop()
        self.messages.append(draft.content)
        del self.messages[:-MAX_MESSAGES]


def _may_count(message: str) -> bool:
    return handoff.NAME in message or verdict.NAME in message
