"""Idempotency keys: one name for one wish of one user."""

import hashlib
from typing import Any

import msgspec
from aiohttp import web

from server.core import principal
from storage.rules import Key
from streams.errors import BadRequest
from streams.event import clean_text


def key_of(request: web.Request, scope: str, content: Any, key: str | None = None) -> Key | None:
    """The key of a request: `key`, else its Idempotency-Key; None without either. `content` is what it stands for.

    Raises BadRequest for one that is empty, too long or no text.
    """
    text = key if key is not None else request.headers.get("Idempotency-Key")
    if text is None:
        return None
    if not 0 < len(text) <= 255 or clean_text(text) != text:
        raise BadRequest("an Idempotency-Key has 1 to 255 characters")
    who = principal(request)
    fingerprint = hashlib.sha256(msgspec.json.encode(content)).hexdigest()
    return Key(f"{scope}:{who.user_id}", text, fingerprint)
