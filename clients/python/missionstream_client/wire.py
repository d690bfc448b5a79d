"""One HTTP exchange with the server: what is sent, what its errors mean, and when it is tried again."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID

import aiohttp
import msgspec
from yarl import URL

from missionstream_client.backoff import Timing
from missionstream_client.errors import (
    ApiError,
    ConnectionLostError,
    ProtocolError,
    UnavailableError,
    error_of,
)

T = TypeVar("T")

NETWORK_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)
"""What an exchange raises when the way to the server fails."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, read whole."""

    headers: Mapping[str, str]
    body: bytes

    def into(self, kind: type[T]) -> T:
        """The body as `kind`; ProtocolError when it is something else."""
        return decoded(self.body, kind)


def decoded(data: bytes | str | msgspec.Raw, kind: type[T]) -> T:
    """JSON from the wire as `kind`; ProtocolError when it is something else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a {kind.__name__}: {error}") from error


def segment(value: str | UUID) -> str:
    """A value as one segment of a path."""
    return quote(str(value), safe="")


class Wire:
    """The way to one server with one token; shared by a client and all its follows."""

    def __init__(self, url: str, token: str | None, session: aiohttp.ClientSession, timing: Timing) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the server's address looks like https://host:port, not {url!r}")
        self._root = url.rstrip("/")
        self.token = token
        self.session = session
        self.timing = timing

    def url(self, path: str) -> URL:
        """The address of an already quoted path."""
        return URL(self._root + path, encoded=True)

    def headers(self) -> dict[str, str]:
        """The headers that every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        attempts: int | None = None,
        timeout_seconds: float | None = None,
        is_cursor_read: bool = False,
    ) -> Answer:
        """Ask until there is an answer, at most `attempts` times (default: the timing's).

        Tried again, with the same body and idempotency key, only when the connection is lost or the server is
        unavailable; not when it asks for more patience than the cap. Params that are None are left out.
        """
        timing = self.timing
        request = self._request(params, body, key, timeout_seconds or timing.request_seconds)
        backoff, last = timing.backoff(), attempts or timing.attempts
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(method, path, request, is_cursor_read=is_cursor_read)
            except UnavailableError as error:
                if attempt >= last or (error.retry_after or 0) > timing.cap_seconds:
                    raise
                await asyncio.sleep(backoff.next_delay(error.retry_after))

    def _request(
        self, params: Mapping[str, Any] | None, body: Any, key: str | None, timeout_seconds: float
    ) -> dict[str, Any]:
        extra = {
            "Idempotency-Key": key,
            "Content-Type": None if body is None else "application/json",
        }
        return {
            "params": {name: str(value) for name, value in (params or {}).items() if value is not None},
            "data": None if body is None else msgspec.json.encode(body),
            "headers": self.headers() | {name: value for name, value in extra.items() if value is not None},
            "timeout": aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=self.timing.connect_seconds),
            "allow_redirects": False,
        }

    async def _once(self, method: str, path: str, request: dict[str, Any], *, is_cursor_read: bool) -> Answer:
        try:
            async with self.session.request(method, self.url(path), **request) as response:
                body = await response.read()
        except NETWORK_ERRORS as error:
            raise ConnectionLostError(f"{method} {path}: {error or type(error).__name__}") from error
        if response.status >= 300:
            raise refusal(response, body, is_cursor_read=is_cursor_read)
        return Answer(response.headers, body)


def refusal(response: aiohttp.ClientResponse, body: bytes, *, is_cursor_read: bool = False) -> ApiError:
    """The error that a response of status 300 or more stands for."""
    text = body.decode("utf-8", "replace")
    return error_of(response.status, text, response.headers.get("Retry-After"), is_cursor_read=is_cursor_read)
