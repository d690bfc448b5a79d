"""Which server to talk to, and as whom: the flags of the commands that go over HTTP."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click

from server.cli.output import Output

if TYPE_CHECKING:
    from missionstream_client import Client

DEFAULT_URL = "http://127.0.0.1:8080"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
F = TypeVar("F", bound=Callable[..., Any])


class Access(NamedTuple):
    """A server's address and a token, None where it may need none."""

    url: str
    token: str | None

    def client(self) -> "Client":
        """A client that gives up soon on calls, and comes back within seconds on follows."""
        from missionstream_client import Client, Timing

        return Client(self.url, self.token, timing=Timing(base_seconds=0.3, cap_seconds=5.0, attempts=3))


def access_options(function: F) -> F:
    """--url, --token and --data-dir; the function gets `access` instead of them."""

    @click.option(
        "--url", envvar="MISSIONSTREAM_URL", default=DEFAULT_URL, show_default=True, help="The server's address."
    )
    @click.option("--token", envvar="MISSIONSTREAM_TOKEN", show_envvar=True, help="An API token.")
    @click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Where a server on this machine keeps its owner's token."
    )
    @functools.wraps(function)
    def wrapped(output: Output, *args: Any, url: str, token: str | None, data_dir: Path | None, **named: Any) -> Any:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.BadParameter(f"an address looks like https://host:port, not {url!r}", param_hint="--url")
        found = (token or "").strip() or _owner_token(parts.hostname, data_dir, output)
        return function(output, *args, access=Access(url, found), **named)

    return wrapped  # type: ignore[return-value]


def _owner_token(host: str, data_dir: Path | None, output: Output) -> str | None:
    """The owner's token of a server on this machine, if we may read it: it never goes to another machine."""
    if host not in _LOOPBACK:
        return None
    path = (data_dir or _data_dir()) / "owner-token"
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeError):
        return None
    if token:
        output.say(f"Using the owner's token in {path}.", style="dim")
    return token or None


def _data_dir() -> Path:
    given = os.environ.get("MISSIONSTREAM_DATA_DIR")
    if given:
        return Path(given)
    from server.settings import default_data_dir

    return default_data_dir()
