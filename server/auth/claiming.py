"""Claiming a new server: its first user makes themself the owner, once, before anybody else is in."""

import re

import structlog

from server.auth import tokens
from server.auth.authenticator import Authenticator
from server.auth.bootstrap import OWNER_FILE
from storage import founding
from storage.founding import Claim, Foundation
from storage.pool import Database
from streams.errors import BadRequest, Gone

log = structlog.get_logger()

OPEN_SECONDS = 15 * 60
TOKEN_NAME = "bootstrap"  # noqa: S105  # a name, not a secret
TOO_LATE = "This server has its owner; sign in, or let an operator make a token with `missionstream token create`"
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(?:\.[^@\s.]+)+")
_SHORTEST_NAME, _SHORTEST_PASSWORD = 2, 8


async def refuse_late(database: Database, authenticator: Authenticator) -> None:
    """Gone unless the server may still be claimed.

    That is so for OPEN_SECONDS after its very first start, while the token in its owner-token file is the only way in
    and nobody has used it: not with a token or a password of the operator's, not with authentication off.
    """
    is_open = authenticator.may_be_claimed and await founding.may_be_claimed(
        database, within_seconds=OPEN_SECONDS, unused_token=OWNER_FILE
    )
    if not is_open:
        raise Gone(TOO_LATE)


async def claim(database: Database, name: str, email: str, password: str) -> tuple[Foundation, str]:
    """Make the first owner the one with this name and email; give who and where that is, and their token's secret.

    The password is measured and not kept: there are no logins by name. BadRequest; Gone when it is too late.
    """
    name, email = name.strip(), normal_email(email)
    if not _SHORTEST_NAME <= len(name) <= 100:
        raise BadRequest("full_name must be between 2 and 100 characters")
    if len(password) < _SHORTEST_PASSWORD:
        raise BadRequest("password must be at least 8 characters")
    secret = tokens.generate()
    wish = Claim(name, email, TOKEN_NAME, tokens.digest(secret))
    found = await founding.claim(database, wish, within_seconds=OPEN_SECONDS, unused_token=OWNER_FILE)
    if found is None:
        raise Gone(TOO_LATE)
    log.warning("bootstrap.claimed", user_id=str(found.owner_id))
    return found, secret


def normal_email(text: str) -> str:
    """An email address in lower case; BadRequest for what is none."""
    email = text.strip().lower()
    if len(email) > 254 or not _EMAIL.fullmatch(email):
        raise BadRequest("email must be an email address")
    return email
