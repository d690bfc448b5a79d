"""A model server on loopback that follows a script: four vendors' wires, dummy keys, no intelligence."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import msgspec
from aiohttp import web

from tests.agents.model import chat, generate, messages, responses
from tests.agents.model.script import Asked, Script, speak

_WIRES: dict[str, ModuleType] = {
    "/v1/chat/completions": chat,
    "/v1/responses": responses,
    "/v1/messages": messages,
}
MODEL = "scripted-1"


class Model:
    """The running server: `base_url` has no path; `asked` remembers every request, `keys` every key it came with."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.base_url = ""
        self.asked: list[Asked] = []
        self.keys: set[str] = set()
        self.strays: list[str] = []
        self._calls: list[Script] = []
        self._numbers = itertools.count(1)

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=32 << 20)
        for path, wire in _WIRES.items():
            app.router.add_post(path, self._completing(wire))
        app.router.add_post("/v1beta/models/{model}:{method}", self._generate)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_route("*", "/{path:.*}", self._stray)
        return app

    def results(self) -> list[str]:
        """What the tools told the model, in order."""
        return [result for asked in self.asked for result in asked.results]

    def _completing(self, wire: ModuleType) -> Any:
        async def complete(request: web.Request) -> web.StreamResponse:
            asked = wire.read(await request.json())
            return await self._answer(request, wire, asked)

        return complete

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        model, method = request.match_info["model"], request.match_info["method"]
        if method == "countTokens":
            return web.json_response({"totalTokens": 10})
        asked = msgspec.structs.replace(
            generate.read(await request.json()), model=model, is_streamed=method.startswith("stream")
        )
        return await self._answer(request, generate, asked)

    async def _answer(self, request: web.Request, wire: ModuleType, asked: Asked) -> web.StreamResponse:
        key = _key(request)
        self.keys.add(key)
        self.asked.append(asked)
        if self.script.refusal:
            return _refusal(self.script.refusal, key)
        called = sum(script is self.script for script in self._calls)
        speech = speak(self.script, asked, next(self._numbers), called=called)
        if speech.call:
            self._calls.append(self.script)
        if not asked.is_streamed:
            return web.json_response(wire.whole(speech, asked))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for name, data in wire.stream(speech, asked):
            text = data if isinstance(data, str) else json.dumps(data)
            await response.write((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())
            # Each event in a packet of its own, as from afar.
            await asyncio.sleep(0.005)
        return response

    async def _models(self, request: web.Request) -> web.Response:
        listed = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "nobody"}
        return web.json_response({"object": "list", "data": [listed]})

    async def _count(self, request: web.Request) -> web.Response:
        return web.json_response({"input_tokens": 10})

    async def _stray(self, request: web.Request) -> web.Response:
        self.strays.append(f"{request.method} {request.path}")
        return web.json_response({"error": {"message": "no such route"}}, status=404)


@asynccontextmanager
async def serving_model(script: Script) -> AsyncIterator[Model]:
    """Serve on a free port of loopback until left."""
    model = Model(script)
    runner = web.AppRunner(model.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield model
    finally:
        await runner.cleanup()


def _key(request: web.Request) -> str:
    named = request.headers.get("x-api-key") or request.headers.get("x-goog-api-key") or request.query.get("key")
    return named or request.headers.get("Authorization", "").removeprefix("Bearer ")


def _refusal(status: int, key: str) -> web.Response:
    """What a vendor says to a wrong key, which some repeat, or when its servers are down."""
    error = {"message": "The server had an error.", "type": "server_error", "code": "server_error"}
    if status == 401:
        message = f"Incorrect API key provided: {key}."
        error = {"message": message, "type": "authentication_error", "code": "invalid_api_key"}
    return web.json_response({"type": "error", "error": error}, status=status)
