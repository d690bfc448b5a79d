"""What the tests do again and again with missions over HTTP, and a plain reader of the control stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import ClientResponse, ClientSession

MISSIONS = "/api/control/missions"
NIL = "00000000-0000-0000-0000-000000000000"
UNKNOWN = "018f0000-0000-7000-8000-00000000dead"


class Answer(NamedTuple):
    """An answer, read."""

    status: int
    text: str
    headers: Any

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"].startswith("application/json"), self
        return json.loads(self.text)


async def ask(http: ClientSession, method: str, path: str, **options: Any) -> Answer:
    """One request; the text of its answer is pure ASCII where it is JSON."""
    async with http.request(method, path, **options) as answer:
        raw = await answer.read()
        if answer.content_type == "application/json":
            assert raw.isascii()
        return Answer(answer.status, raw.decode(), answer.headers)


async def get(http: ClientSession, path: str, **query: Any) -> Any:
    answer = await ask(http, "GET", path, params=query)
    assert answer.status == 200, answer
    return answer.json


async def post(http: ClientSession, path: str, body: Any = None) -> Any:
    answer = await ask(http, "POST", path, **({} if body is None else {"json": body}))
    assert answer.status == 200, answer
    return answer.json


async def create(http: ClientSession, **body: Any) -> dict[str, Any]:
    return await post(http, MISSIONS, body)  # type: ignore[no-any-return]


async def send(http: ClientSession, mission_id: str, content: str, **body: Any) -> dict[str, Any]:
    return await post(http, "/api/control/message", {"content": content, "mission_id": mission_id, **body})  # type: ignore[no-any-return]


async def until(read: Callable[[], Any], is_there: Callable[[Any], bool]) -> Any:
    """Read again and again until it is there."""
    async with asyncio.timeout(20):
        while not is_there(found := await read()):
            await asyncio.sleep(0.02)
    return found


async def until_status(http: ClientSession, mission_id: str, status: str) -> dict[str, Any]:
    path = f"{MISSIONS}/{mission_id}"
    return await until(lambda: get(http, path), lambda mission: mission["status"] == status)  # type: ignore[no-any-return]


async def events(http: ClientSession, mission_id: str, **query: Any) -> list[dict[str, Any]]:
    return await get(http, f"{MISSIONS}/{mission_id}/events", **query)  # type: ignore[no-any-return]


async def append(http: ClientSession, mission_id: str, *drafts: dict[str, Any]) -> list[dict[str, Any]]:
    """Append events from outside; each draft needs only an event_type."""
    rows = [{"event_id": f"e{number}-{id(draft)}", **draft} for number, draft in enumerate(drafts)]
    return (await post(http, f"{MISSIONS}/{mission_id}/events", {"events": rows}))["events"]  # type: ignore[no-any-return]


async def talked(http: ClientSession, *contents: str, **body: Any) -> dict[str, Any]:
    """A mission on which these messages were answered, one after the other."""
    mission = await create(http, **body)
    for content in contents:
        await send(http, mission["id"], content)
        await until_status(http, mission["id"], "completed")
    return mission


class Frame(NamedTuple):
    """One block of an event stream, as bytes and as its fields."""

    raw: bytes
    name: str | None
    id: str | None
    data: Any
    comment: str | None


def parse_frame(raw: bytes) -> Frame:
    """A block; a line of an unknown form is an error."""
    fields: dict[str, str] = {}
    for line in raw.decode("ascii").split("\n"):
        name, colon, value = line.partition(": ")
        assert colon, raw
        assert name in ("", "event", "id", "data"), raw
        assert name not in fields, raw
        fields[name] = value
    data = json.loads(fields["data"]) if "data" in fields else None
    return Frame(raw, fields.get("event"), fields.get("id"), data, fields.get(""))


class Stream:
    """The blocks of an open control stream; nothing else may stand between them."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer
        self.frames: list[Frame] = []

    async def next(self) -> Frame:
        raw = await self.answer.content.readuntil(b"\n\n")
        self.frames.append(parse_frame(raw.removesuffix(b"\n\n")))
        return self.frames[-1]

    async def named(self, event: str, /, **fields: Any) -> Frame:
        """The next frame of a name whose data has these fields."""
        async with asyncio.timeout(10):
            while True:
                frame = await self.next()
                if frame.name == event and all(frame.data.get(key) == value for key, value in fields.items()):
                    return frame

    async def events(self, count: int) -> list[Frame]:
        """The next so many numbered frames."""
        found: list[Frame] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                frame = await self.next()
                if frame.name is not None and frame.id is not None:
                    found.append(frame)
        return found


@asynccontextmanager
async def stream(http: ClientSession, *, headers: dict[str, str] | None = None, **query: Any) -> AsyncIterator[Stream]:
    async with http.get("/api/control/stream", params=query, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)
