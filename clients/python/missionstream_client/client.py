"""The client: typed calls to a Missionstream server, and follows of its feeds."""

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, overload
from uuid import UUID, uuid4

import aiohttp

from missionstream_client.backoff import Timing
from missionstream_client.errors import NotFoundError
from missionstream_client.feed import PAGE_LIMIT, Feed, event_page, feed_page, snapshot_of
from missionstream_client.follow import Follow, OnReset, Since, Transport
from missionstream_client.model import (
    Draft,
    Event,
    EventPage,
    FeedPage,
    Health,
    Login,
    Mission,
    Placed,
    RunningMission,
    Sent,
    Signal,
    Snapshot,
    Task,
)
from missionstream_client.wire import T, Wire, segment

Id = str | UUID
_MISSIONS = "/api/control/missions"


class Client:
    """One server and one token; use it as an async context manager.

    Every POST carries an idempotency key, given or made here, and is repeated with the same key when the
    connection is lost or the server is unavailable: it is done once. Every method may raise an ApiError.
    A session that is given stays yours to close, and its connection limit must leave one for each follow.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        session: aiohttp.ClientSession | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._url = url
        self._token = token
        self._session = session
        self._owns_session = session is None
        self._timing = timing or Timing()
        self._open_wire: Wire | None = None
        self._follows: set[Follow[Any]] = set()

    async def __aenter__(self) -> Self:
        if self._session is None:
            # A follow holds its connection for hours: a limit would only make the next one hang.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            self._open_wire = Wire(self._url, self._token, self._session, self._timing)
        except ValueError:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all follows and, if it is ours, the session."""
        for follow in list(self._follows):
            await follow.aclose()
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None
        self._open_wire = None

    @property
    def _wire(self) -> Wire:
        if self._open_wire is None:
            raise RuntimeError("use the client inside `async with`")
        return self._open_wire

    async def health(self) -> Health:
        """What the server says of itself; needs no token."""
        return (await self._wire.exchange("GET", "/api/health")).into(Health)

    async def login(self, password: str) -> Login:
        """Exchange the password for a token, which this client then uses."""
        login = await self._post("/api/auth/login", Login, {"password": password})
        self._wire.token = login.token
        return login

    async def missions(
        self, *, limit: int | None = None, offset: int | None = None, status: str | None = None
    ) -> list[Mission]:
        """The missions, last changed first; the server gives 50 unless told."""
        params = {"limit": limit, "offset": offset, "status": status}
        return (await self._wire.exchange("GET", _MISSIONS, params=params)).into(list[Mission])

    async def running(self) -> list[RunningMission]:
        """What runs or waits now."""
        return (await self._wire.exchange("GET", "/api/control/running")).into(list[RunningMission])

    async def create_mission(
        self,
        title: str | None = None,
        *,
        backend: str | None = None,
        agent: str | None = None,
        model_override: str | None = None,
        workspace_id: Id | None = None,
        parent_mission_id: Id | None = None,
        idempotency_key: str | None = None,
    ) -> Mission:
        """Create a mission; a repeat with the same key answers the first one."""
        fields = {
            "title": title,
            "backend": backend,
            "agent": agent,
            "model_override": model_override,
            "workspace_id": workspace_id,
            "parent_mission_id": parent_mission_id,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        return await self._post(_MISSIONS, Mission, body, key=idempotency_key)

    async def mission(self, mission_id: Id) -> Mission:
        """One mission."""
        return (await self._wire.exchange("GET", f"{_MISSIONS}/{segment(mission_id)}")).into(Mission)

    async def delete(self, mission_id: Id) -> None:
        """See that a mission is gone; ConflictError while it runs.

        One that is unknown is gone: after a cut connection the two cannot be told apart.
        """
        with suppress(NotFoundError):
            await self._wire.exchange("DELETE", f"{_MISSIONS}/{segment(mission_id)}", key=str(uuid4()))

    async def send(self, mission_id: Id, content: str, *, client_message_id: Id | None = None) -> Sent:
        """Send a message to a mission; it is delivered once per `client_message_id`."""
        body = {
            "content": content,
            "mission_id": str(mission_id),
            "client_message_id": str(client_message_id or uuid4()),
        }
        return await self._post("/api/control/message", Sent, body)

    async def tool_result(self, tool_call_id: str, name: str, result: Any) -> None:
        """Answer a tool call that waits for a person."""
        body = {"tool_call_id": tool_call_id, "name": name, "result": result}
        await self._post("/api/control/tool_result", dict[str, Any], body)

    async def cancel(self, mission_id: Id, *, idempotency_key: str | None = None) -> None:
        """Stop what the mission runs; NotFoundError when it runs nothing."""
        await self._act(mission_id, "cancel", dict[str, Any], key=idempotency_key)

    async def resume(
        self,
        mission_id: Id,
        *,
        skip_message: bool = False,
        clean_workspace: bool = False,
        idempotency_key: str | None = None,
    ) -> Mission:
        """Take up an interrupted or failed mission again."""
        body = {"skip_message": skip_message, "clean_workspace": clean_workspace}
        return await self._act(mission_id, "resume", Mission, body, key=idempotency_key)

    async def set_status(self, mission_id: Id, status: str, *, idempotency_key: str | None = None) -> None:
        """Set the mission's status by hand; it stops nothing that runs."""
        await self._act(mission_id, "status", dict[str, Any], {"status": status}, key=idempotency_key)

    async def snapshot(self, mission_id: Id) -> Snapshot:
        """The mission, its recent events and signals, and the cursor to follow from."""
        return await snapshot_of(self._wire, str(mission_id))

    async def events(
        self,
        mission_id: Id,
        *,
        since_seq: int | None = None,
        before_seq: int | None = None,
        limit: int | None = None,
        types: Sequence[str] = (),
        view: str | None = None,
    ) -> EventPage:
        """A page of a mission's events, ascending: after `since_seq`, or the nearest before `before_seq`."""
        return await event_page(
            self._wire,
            str(mission_id),
            since_seq=since_seq,
            before_seq=before_seq,
            limit=limit,
            types=",".join(types) or None,
            view=view,
        )

    async def feed(
        self,
        *,
        since: str | None = None,
        mission_id: Id | None = None,
        limit: int = PAGE_LIMIT,
        wait_seconds: float = 0.0,
    ) -> FeedPage:
        """A page of the workspace's events after a cursor (None: from the oldest).

        When there is none yet, the server waits for one, at most `wait_seconds`.
        """
        feed = Feed(None if mission_id is None else str(mission_id))
        return await feed_page(self._wire, feed, since, limit=limit, wait_seconds=wait_seconds, attempts=None)

    async def append(
        self, mission_id: Id, events: Sequence[Draft], *, idempotency_key: str | None = None
    ) -> list[Placed]:
        """Append events of your own; each answer stands where its draft stood."""
        body = {"events": list(events)}
        answer = await self._act(mission_id, "events", dict[str, list[Placed]], body, key=idempotency_key)
        return answer.get("events", [])

    async def report_progress(
        self,
        mission_id: Id,
        total_subtasks: int,
        completed_subtasks: int,
        current_subtask: str | None = None,
        *,
        depth: int = 0,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Say how far a mission is; what was said is answered."""
        body = {
            "total_subtasks": total_subtasks,
            "completed_subtasks": completed_subtasks,
            "current_subtask": current_subtask,
            "depth": depth,
        }
        return await self._act(mission_id, "progress", dict[str, Any], body, key=idempotency_key)

    async def tasks(self, mission_id: Id) -> list[Task]:
        """A mission's tasks, oldest first."""
        return (await self._wire.exchange("GET", f"{_MISSIONS}/{segment(mission_id)}/tasks")).into(list[Task])

    async def create_task(
        self,
        mission_id: Id,
        title: str,
        description: str | None = None,
        *,
        depends_on: Sequence[str] = (),
        assigned_agent: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Add a pending task; ConflictError when the mission has too many.

        The LEAD of a crew says what it depends on, by ids or titles of tasks, and which agent's it is, by the slug.
        """
        body: dict[str, Any] = {"title": title, "description": description}
        body |= {"depends_on": list(depends_on)} if depends_on else {}
        body |= {"assigned_agent": assigned_agent} if assigned_agent else {}
        return await self._act(mission_id, "tasks", Task, body, key=idempotency_key)

    async def update_task(
        self,
        mission_id: Id,
        task_id: Id,
        *,
        status: str | None = None,
        title: str | None = None,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Change a task; None leaves a field as it is."""
        path = f"{_MISSIONS}/{segment(mission_id)}/tasks/{segment(task_id)}"
        body = {"status": status, "title": title, "description": description}
        answer = await self._wire.exchange("PATCH", path, body=body, key=idempotency_key or str(uuid4()))
        return answer.into(Task)

    @overload
    def follow(
        self,
        channel: Id,
        since: Since = None,
        *,
        transport: Transport = "sse",
        signals: Literal[False] = False,
        on_reset: OnReset = "raise",
    ) -> Follow[Event]: ...

    @overload
    def follow(
        self,
        channel: Id,
        since: Since = None,
        *,
        transport: Transport = "sse",
        signals: bool,
        on_reset: OnReset = "raise",
    ) -> Follow[Event | Signal]: ...

    def follow(
        self,
        channel: Id,
        since: Since = None,
        *,
        transport: Transport = "sse",
        signals: bool = False,
        on_reset: OnReset = "raise",
    ) -> Follow[Any]:
        """Follow a mission by id, or `"workspace"`: all missions of the token's home workspace.

        `since` is a cursor, a sequence of the mission (0: from its beginning) or None (from now). With
        `signals` the current values between the events are handed out too.
        """
        follow: Follow[Any] = Follow(
            self._wire,
            Feed.named(str(channel)),
            since,
            transport=transport,
            has_signals=signals,
            on_reset=on_reset,
            when_closed=self._follows.discard,
        )
        self._follows.add(follow)
        return follow

    async def _act(self, mission_id: Id, verb: str, into: type[T], body: Any = None, *, key: str | None = None) -> T:
        path = f"{_MISSIONS}/{segment(mission_id)}/{verb}"
        return await self._post(path, into, {} if body is None else body, key=key)

    async def _post(self, path: str, into: type[T], body: Any, *, key: str | None = None) -> T:
        answer = await self._wire.exchange("POST", path, body=body, key=key or str(uuid4()))
        return answer.into(into)
