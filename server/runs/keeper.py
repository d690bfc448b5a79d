"""Keeps the runs of this process: starts turns as their events commit, cancels them, gives free slots to who waits."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

import msgspec
import structlog
from msgspec.structs import replace

from server.agents.budgets import MICROS_PER_CENT, Use
from server.agents.turn import TurnOutcome
from server.missions.kinds import Facts, MissionKind, command
from server.runs.agents import MissionAgents
from server.runs.conversing import Conversing
from server.runs.families import Families
from server.runs.hearing import HEARD
from server.runs.owner import this_process
from server.runs.recovery import Recovery
from server.runs.turn import Turn, patiently
from server.runs.work import Work
from storage.ids import new_id
from storage.missions import Missions
from storage.rules import Outcome
from storage.runs import Idle, Runs
from storage.writer import Writers
from streams.errors import MissionstreamError, NotFound
from streams.event import Event
from streams.hub import Hub

LEASE_SECONDS = 15.0
_BEAT_SECONDS = 1.0
_SWEEP_BEATS = 5
_CLOSE_SECONDS = 5.0
_END_TRIES = 10
"""How often storing an end may fail though the database is there: for some ten seconds."""
log = structlog.get_logger()


class RunKeeper:
    """The turns that this process runs. At most `max_parallel` at once; the rest wait in their missions' queues."""

    def __init__(
        self,
        *,
        runs: Runs,
        missions: Missions,
        writers: Writers,
        hub: Hub,
        kinds: Mapping[str, MissionKind],
        agents: MissionAgents,
        max_parallel: int,
    ) -> None:
        self.max_parallel = max_parallel
        self.turns: dict[UUID, Turn] = {}
        self._runs = runs
        self._missions = missions
        self._writers = writers
        self._hub = hub
        self._kinds = kinds
        self._agents = agents
        self._owner = this_process()
        self._families = Families(missions, kinds, self._execute)
        self._recovery = Recovery(runs, missions, writers, kinds, self._families, self._execute)
        self._reserved = 0
        self._beat: asyncio.Task[None] | None = None
        self._is_closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._forgetting: set[asyncio.Task[None]] = set()
        self._on_event: Mapping[str, Callable[[Event], None]] = {
            "user_message": self._said,
            "mission_deleted": self._deleted,
            "assistant_message": lambda event: self._replace(event, "text_delta"),
            "thinking": lambda event: self._replace(event, "thinking"),
            "progress": lambda event: self._replace(event, "progress"),
            "run_ended": lambda event: self._replace(event, None),
        }
        self.works: dict[str, Work] = {"control": Conversing(kinds["control"], self._execute)}
        self.on_free: Callable[[], None] = lambda: None
        """Called when a slot may be free that control's missions do not take."""
        self.is_wanted: Callable[[], bool] = lambda: False
        """Whether somebody waits for a slot that control's missions do not take: the two take turns."""
        self.on_sweep: Callable[[], Awaitable[None]] = _nothing
        """Called every few seconds, for those that begin turns themselves to find what they were not told."""

    # slots

    @property
    def free(self) -> int:
        """How many more turns may begin now."""
        return 0 if self._is_closing else max(0, self.max_parallel - len(self.turns) - self._reserved)

    @property
    def has_slot(self) -> bool:
        return self.free > 0

    @contextmanager
    def slot(self) -> Iterator[bool]:
        """Hold a slot, if there is one, while a command that may start a turn is decided."""
        has_slot = self.has_slot
        self._reserved += has_slot
        try:
            yield has_slot
        finally:
            self._reserved -= has_slot
            if has_slot and self.has_slot:  # somebody may have been turned away for its sake
                self.on_free()

    def sandbox_of(self, run_id: UUID | None) -> str | None:
        """What the agent of a running turn has around it: bubblewrap or none; None for a turn that is not here."""
        turn = None if run_id is None else self.turns.get(run_id)
        return None if turn is None else turn.sandbox

    # lifetime

    async def start(self) -> None:
        """Recover what an earlier process left, then keep going."""
        await self._recovery.recover(self.turns, is_boot=True, may_start=lambda: self.has_slot)
        self._beat = asyncio.create_task(self._keep(), name="run keeper")

    async def close(self) -> None:
        """Interrupt the running turns, each of which stores what its agent had said, and end the idle agents."""
        self._is_closing = True
        if self._beat is not None:
            self._beat.cancel()
            with suppress(asyncio.CancelledError):
                await self._beat
        for turn in self.turns.values():
            if turn.task is not None and not turn.is_ending:  # what an agent has done is not called a shutdown
                turn.task.cancel()
        idle = asyncio.create_task(self._agents.close())
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
            for task in unfinished:  # the database is away; the next start finds these runs by their leases
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        if self._forgetting:
            _, late = await asyncio.wait(self._forgetting, timeout=_CLOSE_SECONDS)
            for task in late:  # the next start ends what they leave
                task.cancel()
        await idle

    async def _keep(self) -> None:
        for beat in count(1):
            await asyncio.sleep(_BEAT_SECONDS)
            try:
                for turn in list(self.turns.values()):
                    await self._renew(turn)
                await self._recovery.recover(self.turns, is_boot=False, may_start=lambda: self.has_slot)
                await self._fill()
                await self._families.look(self.turns)
                if beat % _SWEEP_BEATS == 0:
                    await self.on_sweep()
            except MissionstreamError as error:
                log.info("runs.waiting", reason=error.message)
            except Exception:
                log.exception("runs.beat_failed")

    async def _renew(self, turn: Turn) -> None:
        is_ours = await self._runs.renew(
            turn.workspace_id,
            turn.run_id,
            owner=self._owner,
            seconds=LEASE_SECONDS,
            partial=turn.partial,
            partial_after=turn.sequence,
            used=msgspec.to_builtins(turn.meter.use),
            session=turn.session,
            sandbox=turn.sandbox,
        )
        if not is_ours and turn.is_claimed:  # another process took it for dead and ended it
            turn.cancel.set()

    # what commits tell

    def notice(self, events: Sequence[Event]) -> None:
        """Hear of committed events, before the streams do: a signal is gone when the event takes its place."""
        for event in events:
            try:
                if (react := self._on_event.get(event.type)) is not None:
                    react(event)
                if (hear := HEARD.get(event.type)) is not None:
                    for turn in self.turns.values():
                        if turn.mission_id == event.stream_id:
                            hear(turn, event)
            except Exception:  # the event is a fact; whoever wrote it must not hear of our trouble
                log.exception("runs.notice_failed", type=event.type)

    def _said(self, event: Event) -> None:
        if not event.data()["queued"] and not self._is_closing:
            self._begin(event)

    def _begin(self, event: Event) -> None:
        # control is the only kind whose turns begin with a message
        self.begin(Turn(event.workspace_id, event.stream_id, "control", event, self._writers, self._hub))

    def begin(self, turn: Turn) -> None:
        """Run a turn, unless it runs already or nothing begins any more: another start finds it then."""
        if turn.run_id not in self.turns and not self._is_closing:
            self.turns[turn.run_id] = turn
            turn.task = asyncio.create_task(self._run(turn), name=f"run {turn.run_id}")
            self._tasks.add(turn.task)
            turn.task.add_done_callback(self._tasks.discard)

    def call_off(self, run_id: UUID) -> None:
        """End a turn early, if it is here."""
        turn = self.turns.get(run_id)
        if turn is not None:
            turn.cancel.set()

    def _replace(self, event: Event, name: str | None) -> None:
        run_id = event.data().get("run_id")
        self._hub.signals.drop(event.stream_id, name, UUID(run_id) if run_id else None)

    def _deleted(self, event: Event) -> None:
        task = asyncio.create_task(self._agents.forget(UUID(event.data()["mission_id"])))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    # turns

    async def _run(self, turn: Turn) -> None:
        """A turn's work and then its one ending, whose trouble is not the agent's."""
        try:
            outcome = await self._outcome(turn)
            turn.is_ending = True
            if outcome is not None:
                await self._end(turn, outcome)
        except Exception:  # the lease runs out, and whoever finds the run ends it
            log.exception("run.not_ended", run_id=str(turn.run_id))
        finally:
            self.turns.pop(turn.run_id, None)
            self.on_free()

    async def _outcome(self, turn: Turn) -> TurnOutcome | None:
        """What came of a turn; None when it is not ours."""
        try:
            mission = await patiently(lambda: self._missions.get(turn.workspace_id, turn.mission_id))
            turn.has_parent = mission.parent_id is not None
            facts = await patiently(lambda: self.works[turn.kind].facts(turn, mission))
            return await self._work(turn, facts) if facts is not None and await self._claim(turn, facts) else None
        except asyncio.CancelledError:
            return TurnOutcome(text=turn.partial, success=False, reason="shutdown")
        except Exception as error:
            log.exception("run.failed", run_id=str(turn.run_id))
            return TurnOutcome(text=turn.partial, success=False, reason="failed", error=str(error))

    async def _claim(self, turn: Turn, facts: Facts) -> bool:
        claimed: bool = await patiently(
            lambda: self._runs.claim(
                turn.workspace_id,
                turn.run_id,
                turn.mission_id,
                owner=self._owner,
                seconds=LEASE_SECONDS,
                backend=facts.backend,
                agent_id=turn.agent_id,
                task_id=turn.task_id,
            )
        )
        turn.is_claimed = claimed
        return claimed

    async def _work(self, turn: Turn, facts: Facts) -> TurnOutcome:
        work = self.works[turn.kind]
        turn.policy = turn.policy or facts.permission_policy  # a change that came meanwhile is newer than the row
        turn.signal("status", {"state": "running", "queue_len": len(facts.queue)})

        turn.note_sandbox = partial(work.sandboxed, turn, facts)
        spend = partial(work.spend, turn)
        with structlog.contextvars.bound_contextvars(mission_id=str(turn.mission_id), run_id=str(turn.run_id)):
            try:
                if turn.has_parent:
                    await patiently(lambda: self._families.look(self.turns))
                if turn.cancel.is_set():  # nobody needs to be started, or told to begin
                    return TurnOutcome(text="", success=False, reason="cancelled")
                async with turn.meter.watching(facts.budget, facts.spent, spend, facts.spent_below):
                    return await self._agents.run(turn, facts)
            except MissionstreamError as error:
                return TurnOutcome(text=turn.partial, success=False, reason="failed", error=error.message)

    async def _end(self, turn: Turn, outcome: TurnOutcome) -> None:
        use = turn.meter.total(outcome.use)
        try:
            is_idle = await self._store_end(turn, outcome, use)
        except NotFound:  # deleted
            is_idle = True
        except Exception as error:
            log.exception("run.end_refused", run_id=str(turn.run_id))
            why = f"what the agent did could not be stored: {error}"
            outcome = replace(outcome, text="", success=False, reason="failed", error=why)
            is_idle = await self._store_end(turn, outcome, use)
        waiting = await self._waiting_after(turn)
        self.turns.pop(turn.run_id, None)
        with ExitStack() as slots:
            next_up = [idle for idle in waiting if slots.enter_context(self.slot())]
            turn.over(is_idle=is_idle)
            if turn.has_parent:
                await patiently(lambda: self._families.count(turn.workspace_id, turn.mission_id))
            for idle in next_up:
                await self._start_next(idle)
        with suppress(MissionstreamError):
            await self._runs.finish(
                turn.workspace_id,
                turn.run_id,
                outcome=outcome.reason,
                cost_cents=round(use.cost_micros / MICROS_PER_CENT),
                usage=outcome.usage,
                sandbox=turn.sandbox,
            )

    async def _store_end(self, turn: Turn, outcome: TurnOutcome, use: Use) -> bool:
        """Store how a turn ended, however often that must be tried; whether its mission rests now."""

        async def store() -> bool:
            # before the end is known: the next turn, which may begin with it, loads this session
            if turn.session.id is not None:
                await self._runs.keep_session(turn.workspace_id, turn.run_id, turn.session)
            next_run_id = None if self._is_closing else new_id()
            return await self.works[turn.kind].end(turn, outcome, use, next_run_id)

        is_idle: bool = await patiently(store, tries=_END_TRIES)
        return is_idle

    async def _execute(self, workspace_id: UUID, mission_id: UUID, kind: str, verb: str, /, **fields: Any) -> Outcome:
        wish = command(self._kinds[kind], verb, **fields)
        return await self._writers.execute(workspace_id, mission_id, kind, wish, is_patient=True)

    async def _fill(self) -> None:
        """Give free slots to the missions that have waited longest."""
        for idle in await self._runs.waiting(self.free) if self.free > 0 else ():
            with self.slot() as has_slot:
                if has_slot:
                    await self._start_next(idle)

    async def _waiting_after(self, turn: Turn) -> Sequence[Idle]:
        """Who gets the slot of a turn that ends, and holds it until that is known, or any other that is free."""
        if self._is_closing or (turn.kind == "control" and self.is_wanted()):
            return ()
        with suppress(MissionstreamError):
            return await self._runs.waiting(self.free + 1)
        return ()

    async def _start_next(self, idle: Idle) -> None:
        with suppress(NotFound):
            await self._execute(idle.workspace_id, idle.mission_id, idle.kind, "start_next", run_id=new_id())


async def _nothing() -> None:
    """Nobody wants to know."""
