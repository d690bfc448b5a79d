"""The engine of crew missions: hears what commits, and takes the next steps of the missions that it works."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from uuid import UUID

import structlog

from server.missions.crew import KIND, LIFECYCLE, Mission
from server.runs.crew.breaker import Breaker
from server.runs.crew.engaged import Engaged
from server.runs.crew.rosters import Rosters
from server.runs.crew.scheduling import begins, next_steps
from server.runs.crew.turn import CrewTurn
from server.runs.crew.waiting import Key, Waiting
from server.runs.crew.work import CrewWork
from server.runs.keeper import RunKeeper
from storage.ids import new_id
from storage.log import Log
from storage.rules import Command
from storage.runs import Runs
from storage.writer import Writers
from streams.errors import MissionstreamError, NotFound, Unavailable
from streams.event import Event
from streams.hub import Hub

_RETRY_SECONDS = (0.5, 5.0)
_SWEPT_AT_ONCE, _SWEPT_SECONDS = 50, 1.0
"""How many missions a sweep looks at together, and how long it waits for them before it goes on."""
logger = structlog.get_logger()


class CrewEngine:
    """Works engaged missions. Every step is a command that the rules decide anew, so that a step twice does nothing twice.

    Nothing is kept here that a restart would lose but the breaker's counts: what is to be done follows from the log.
    """

    def __init__(
        self,
        *,
        runs: Runs,
        writers: Writers,
        log: Log,
        hub: Hub,
        keeper: RunKeeper,
        rosters: Rosters,
    ) -> None:
        self._runs = runs
        self._writers = writers
        self._hub = hub
        self._keeper = keeper
        self._rosters = rosters
        self._breaker = Breaker()
        self._work = CrewWork(writers, log, rosters, self._breaker)
        self._engaged: dict[Key, Engaged] = {}
        self._waiting = Waiting()
        self._sweeping: asyncio.Task[None] | None = None
        self._is_closing = False
        keeper.works[KIND] = self._work
        self._on_event: Mapping[str, Callable[[Event], None]] = {
            "mission_status_changed": self._moved,
            "run_started": self._begun,
            "run_ended": self._ended,
            "task_created": self._changed,
            "task_updated": self._changed,
            "task_status_changed": self._changed,
            "tasks_reset": self._changed,
        }

    async def start(self) -> None:
        """Take up every engaged mission in which there is something to do. One that is never started does nothing."""
        self._keeper.on_free = self._feed
        self._keeper.on_sweep = self.sweep
        self._keeper.is_wanted = lambda: bool(self._waiting)
        await self.sweep()

    async def sweep(self) -> None:
        """Look again at every mission that is to be worked or has turns here: what told of it may be lost, or was told
        to another server. Nothing while the sweep before goes on. May raise Unavailable."""
        if self._sweeping is not None and not self._sweeping.done():
            return
        keys = {(idle.workspace_id, idle.mission_id): None for idle in await self._runs.engaged(KIND)}
        keys |= dict.fromkeys(self._engaged)
        turns = self._keeper.turns.values()
        keys |= {(turn.workspace_id, turn.mission_id): None for turn in turns if isinstance(turn, CrewTurn)}
        if not self._is_closing:
            self._sweeping = asyncio.create_task(self._look_at([*keys]), name="crew sweep")

    async def _look_at(self, keys: Sequence[Key]) -> None:
        """Look at missions, a few at a time: what people want meanwhile comes between."""
        for at in range(0, len(keys), _SWEPT_AT_ONCE):
            looks: list[asyncio.Task[None]] = []
            for key in keys[at : at + _SWEPT_AT_ONCE]:
                engaged = self._engaged.get(key)
                if engaged is None or not engaged.is_busy:
                    self._engage(key)
                    if (task := self._engaged[key].task) is not None:
                        looks.append(task)
            if looks:
                await asyncio.wait(looks, timeout=_SWEPT_SECONDS)

    async def close(self) -> None:
        """Take no further step. The turns that run are the keeper's to end."""
        self._is_closing = True
        tasks = [engaged.task for engaged in self._engaged.values() if engaged.task is not None]
        tasks += [] if self._sweeping is None else [self._sweeping]
        for engaged in self._engaged.values():
            engaged.wake(None, _nothing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # what commits tell

    def notice(self, events: Sequence[Event]) -> None:
        """Hear of committed events. Never raises."""
        for event in events:
            try:
                if event.crew_id is not None:
                    react = self._on_event.get(event.type)
                    if react is not None:
                        react(event)
                elif event.stream_id == event.workspace_id:
                    self._workspace_changed(event)
            except Exception:  # the event is a fact; whoever wrote it must not hear of our trouble
                logger.exception("crew.notice_failed", type=event.type)

    def _workspace_changed(self, event: Event) -> None:
        if not event.type.startswith(("crew.", "agent.")):
            return
        self._rosters.forget(event.workspace_id)
        if event.type == "agent.updated":
            self._breaker.cleared(UUID(event.data()["id"]))
        for key in [key for key in self._engaged if key[0] == event.workspace_id]:
            self._stir(key)

    def _moved(self, event: Event) -> None:
        key, data = (event.workspace_id, event.stream_id), event.data()
        status = data["status"]
        if status != "IN_PROGRESS":
            for turn in self._turns(event.stream_id):
                if turn.task_id is not None:
                    turn.cancel.set()
        if _rests(status):
            self._drop(key)
        else:
            self._engage(key, is_resumed=data["cause"] == "resume")

    def _begun(self, event: Event) -> None:
        agent_id = event.data()["agent_id"]
        taken = {turn.seat for turn in self._turns(event.stream_id)}
        seats = (agent_id if number == 1 else f"{agent_id}.{number}" for number in range(1, len(taken) + 2))
        seat = next(seat for seat in seats if seat not in taken)
        self._keeper.begin(CrewTurn(event, seat, self._writers, self._hub))

    def _ended(self, event: Event) -> None:
        """A run that somebody else ended is called off; one that ended itself is over anyway."""
        self._keeper.call_off(UUID(event.data()["run_id"]))
        self._changed(event)

    def _changed(self, event: Event) -> None:
        self._stir((event.workspace_id, event.stream_id))

    def _turns(self, mission_id: UUID) -> list[CrewTurn]:
        turns = self._keeper.turns.values()
        return [turn for turn in turns if isinstance(turn, CrewTurn) and turn.mission_id == mission_id]

    # looking after missions

    def _engage(self, key: Key, *, is_resumed: bool = False) -> None:
        self._engaged.setdefault(key, Engaged()).is_resumed |= is_resumed
        self._stir(key)

    def _drop(self, key: Key) -> None:
        self._let_pass(key)
        engaged = self._engaged.pop(key, None)
        if engaged is not None:
            engaged.wake(None, _nothing)

    def _feed(self) -> None:
        """Slots may be free: those that wait longest for one look again."""
        for key in self._waiting.next(self._keeper.free):
            self._stir(key)

    def _let_pass(self, key: Key) -> None:
        """The mission takes no slot now: if it waited for one, it is the next one's turn."""
        if self._waiting.remove(key):
            self._feed()

    def _stir(self, key: Key) -> None:
        engaged = self._engaged.get(key)
        if engaged is None or self._is_closing:
            return
        engaged.is_dirty = True
        if not engaged.is_busy:
            engaged.task = asyncio.create_task(self._look_after(key, engaged), name=f"crew mission {key[1]}")

    async def _look_after(self, key: Key, engaged: Engaged) -> None:
        pause, longest = _RETRY_SECONDS
        while engaged.is_dirty and self._engaged.get(key) is engaged:
            engaged.is_dirty = False
            try:
                await self._step(key, engaged)
                pause, _ = _RETRY_SECONDS
            except NotFound:  # deleted
                self._drop(key)
                for turn in self._turns(key[1]):
                    turn.cancel.set()
            except Exception as error:
                if isinstance(error, Unavailable):
                    logger.info("crew.waiting", mission_id=str(key[1]), reason=error.message)
                elif isinstance(error, MissionstreamError):
                    logger.warning("crew.step_refused", mission_id=str(key[1]), reason=error.message)
                else:
                    logger.exception("crew.step_failed", mission_id=str(key[1]))
                engaged.is_dirty = True
                self._let_pass(key)
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    async def _step(self, key: Key, engaged: Engaged) -> None:
        """Look at the mission and take the steps that there are; what they change is a reason to look again."""
        turns = self._turns(key[1])  # before the state is read, which so knows of each that goes on
        state = await self._work.state(*key)
        for turn in turns:
            if not turn.goes_on(state) or (turn.task_id is not None and state.status != "IN_PROGRESS"):
                turn.cancel.set()  # another server was told why
        if not state.is_engaged or state.review_is_over or _rests(state.status):
            if self._engaged.get(key) is engaged and not engaged.is_dirty:  # else it was told, since, to go on
                self._drop(key)
            return
        if engaged.is_resumed:
            engaged.is_resumed = False
            self._forgive(state)
        roster = await self._rosters.of(key[0], state.crew_id)
        if self._engaged.get(key) is not engaged:  # it came to rest meanwhile, and waits for no slot
            return
        todo = next_steps(
            state,
            roster,
            now=datetime.now(UTC),
            slots=self._waiting.share(key, self._keeper.free),
            new_id=new_id,
            tripped=self._breaker.tripped,
        )
        engaged.wake(todo.wake_at, lambda: self._stir(key))
        if any(map(begins, todo.commands)):
            self._waiting.remove(key)  # it has its turn
        elif not todo.is_starved:
            self._let_pass(key)
        if todo.is_starved:
            self._waiting.add(key)
        if todo.commands:
            await self._take(key, todo.commands)

    def _forgive(self, state: Mission) -> None:
        """Somebody wants the mission tried again: so are its agents."""
        for task in state.tasks.values():
            if task.agent_id is not None:
                self._breaker.cleared(task.agent_id)

    async def _take(self, key: Key, commands: Sequence[Command]) -> None:
        """Execute steps, all at once; those that find no slot any more wait for one."""
        with ExitStack() as slots:
            ready = [command for command in commands if not begins(command) or slots.enter_context(self._keeper.slot())]
            if len(ready) < len(commands):
                self._waiting.add(key)
            # each to its end, since until then its slot is not free
            steps = (self._work.execute(*key, command) for command in ready)
            done = await asyncio.gather(*steps, return_exceptions=True)
        for failure in done:
            if isinstance(failure, BaseException):
                raise failure


def _rests(status: str) -> bool:
    """Whether nothing happens in a mission before somebody starts or resumes it."""
    return status in LIFECYCLE.terminal or status == LIFECYCLE.initial


def _nothing() -> None:
    """Nobody wants to know."""
