"""Whether a page of another origin may speak to us: rules over the Origin header, all pure."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SAFE = frozenset({"GET", "HEAD"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Origin(NamedTuple):
    """Scheme, host and port of a page, in lower case and with the port filled in."""

    scheme: str
    host: str
    port: int


def parse(text: str | None) -> Origin | None:
    """The origin of a URL or an Origin header; None for `null` and anything else that names no host."""
    try:
        parts = urlsplit(text or "")
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return Origin(parts.scheme, parts.hostname, port) if parts.hostname else None


def is_own(origin: str | None, scheme: str, host: str) -> bool:
    """Whether the origin is the request's own scheme and Host header.

    A page over https is ours for a request over http to the same Host: a proxy in front of us has ended the TLS.
    """
    theirs, ours = parse(origin), parse(f"{scheme}://{host}")
    if theirs is None or ours is None:
        return False
    return theirs == ours or (scheme == "http" and theirs == parse(f"https://{host}"))


def is_listed(origin: str | None, allowed: Iterable[str]) -> bool:
    """Whether the origin is one of the allowed ones, be it for case, a default port or a slash at the end."""
    theirs = parse(origin)
    return theirs is not None and any(theirs == parse(entry.strip()) for entry in allowed)


def counts_cookie(method: str, origin: str | None, scheme: str, host: str) -> bool:
    """Whether a cookie may speak for its user: from our own page, or with no Origin on a request that only reads."""
    return is_own(origin, scheme, host) if origin else method in _SAFE


def may_change(origin: str | None, referer: str | None, scheme: str, host: str, allowed: Iterable[str] = ()) -> bool:
    """Whether a request that changes something may pass. Referer counts without an Origin."""
    page = origin or referer
    return not page or is_own(page, scheme, host) or is_listed(page, allowed)


def may_connect(origin: str | None, host: str, allowed: Iterable[str] = (), *, local: bool = True) -> bool:
    """Whether a WebSocket handshake may pass: ports do not count, nor does the scheme.

    `local` lets pages of this very machine in.
    """
    if not origin:
        return True
    theirs, ours = parse(origin), parse(f"http://{host}")
    if theirs is None:
        return False
    is_ours = ours is not None and theirs.host == ours.host
    return is_ours or (local and theirs.host in _LOOPBACK) or is_listed(origin, allowed)


def may_go_unchecked(origin: str | None, scheme: str, host: str, allowed: Iterable[str] = ()) -> bool:
    """Whether a request may act without authentication, when that is off.

    A browser lets any page on the net send requests to a server on this machine, and lets it read the answers too, once
    its own name leads here. So a page must be ours, of this machine or listed, and a Host must be an address, a name
    without a dot, or listed: no name that somebody else can register.
    """
    ours = parse(f"{scheme}://{host}")
    if ours is None or not (_is_private(ours.host) or is_listed(f"{scheme}://{host}", allowed)):
        return False
    theirs = parse(origin)
    return not origin or is_own(origin, scheme, host) or is_listed(origin, allowed) or _is_loopback(theirs)


def _is_loopback(origin: Origin | None) -> bool:
    return origin is not None and origin.host in _LOOPBACK


def _is_private(host: str) -> bool:
    if "." not in host or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
