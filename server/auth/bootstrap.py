"""The first start: a workspace, its owner, the owner's token, and the secret that signs logins."""

import asyncio
import secrets
from pathlib import Path

import structlog

from server.auth import secretfile, tokens
from server.auth.sessions import SHORTEST_SECRET
from storage import founding
from storage.pool import Database
from streams.errors import Unprocessable

log = structlog.get_logger()

OWNER_FILE = "owner-token"
SIGNING_FILE = "jwt-secret"
SHORTEST_TOKEN = 16


async def bootstrap(database: Database, data_dir: Path, token: str | None = None) -> Path | None:
    """Make the workspace `default`, its owner and the owner's first token where they are missing.

    `token` (MISSIONSTREAM_BOOTSTRAP_TOKEN) becomes the owner's, and an earlier one that was given so ends; one that was
    revoked stays so. Without it, an owner who never had a token gets one, and the path of its file is the answer, at
    later starts too. Processes may race. Raises Unprocessable for an unfit token, Unavailable, OSError.
    """
    given = (token or "").strip()
    if given:
        check_token(given)
        works = await founding.adopt_token(database, "bootstrap", tokens.digest(given), as_first=False)
        if not works:
            log.warning("bootstrap.token_revoked", hint="set another MISSIONSTREAM_BOOTSTRAP_TOKEN")
        return None
    foundation = await founding.found(database)
    path = data_dir / OWNER_FILE
    if foundation.owner_has_tokens:
        return path if await asyncio.to_thread(path.exists) else None
    secret = await asyncio.to_thread(secretfile.ensure, path, tokens.generate)
    if await founding.adopt_token(database, OWNER_FILE, tokens.digest(secret.text), as_first=True):
        log.info("bootstrap.owner_token", path=str(path), is_new=secret.is_new)
        return path
    if secret.is_new:  # another server, with another data directory, was quicker
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return None


def check_token(token: str) -> None:
    """Raise Unprocessable unless the text can be a bootstrap token; the message never repeats it."""
    name = "MISSIONSTREAM_BOOTSTRAP_TOKEN"
    if len(token) < SHORTEST_TOKEN:
        raise Unprocessable(f"{name} has {len(token)} characters; it needs at least {SHORTEST_TOKEN}")
    if not (token.isascii() and token.isprintable()):
        raise Unprocessable(f"{name} must be printable ASCII, as it travels in a header")
    if tokens.is_misspelt(token):
        raise Unprocessable(f"{name} looks like a generated token, but its checksum is wrong: is it complete?")


async def jwt_secret(data_dir: Path, configured: str | None = None) -> str:
    """The secret that signs logins: the configured one, else the one in the data directory, made at first start.

    Servers that share a database need the same one. Raises Unprocessable for one that is too short, OSError.
    """
    given = (configured or "").strip()
    if not given:
        return (await asyncio.to_thread(secretfile.ensure, data_dir / SIGNING_FILE, _random_secret)).text
    if len(given) < SHORTEST_SECRET:
        raise Unprocessable(f"MISSIONSTREAM_JWT_SECRET is too short: it needs at least {SHORTEST_SECRET} characters")
    return given


def _random_secret() -> str:
    return secrets.token_urlsafe(48)
