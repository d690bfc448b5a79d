"""What commands have in common: --json and --debug everywhere, and the flags that name a database."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from server.cli.output import Output

if TYPE_CHECKING:
    from server.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def _note(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(ctx.ensure_object(Output), name, True)

    return callback


class Command(click.Command):
    """A command that takes --json and --debug and notes them in the context's Output."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.params += [
            click.Option(
                ["--json"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_note("is_json"),
                help="Print JSON on stdout.",
            ),
            click.Option(
                ["--debug"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_note("is_debug"),
                help="Show the traceback of a failure, and more of the log.",
            ),
        ]


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


def command(name: str | None = None, **named: Any) -> Callable[[Callable[..., Any]], Command]:
    """`click.command` with the common options."""
    return click.command(name, cls=Command, **named)


def group(name: str | None = None, **named: Any) -> Callable[[Callable[..., Any]], Group]:
    """`click.group` whose commands have the common options."""
    return click.group(name, cls=Group, **named)


def database_options(function: F) -> F:
    """--data-dir and --database-url, the same as of serve; the function gets `settings` instead of both."""

    @click.option("--data-dir", type=click.Path(path_type=Path), help="Where the server keeps everything.")
    @click.option("--database-url", help="A PostgreSQL of your own instead of the built-in one.")
    @functools.wraps(function)
    def wrapped(*args: Any, data_dir: Path | None, database_url: str | None, **named: Any) -> Any:
        return function(*args, settings=settings_of({"data_dir": data_dir, "database_url": database_url}), **named)

    return wrapped  # type: ignore[return-value]


def settings_of(given: Mapping[str, Any]) -> "Settings":
    """The settings of the environment, overridden by the flags that were given; UsageError names what is wrong."""
    from pydantic import ValidationError

    from server.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        # pydantic's own text repeats the value, which may be a secret
        wrong = "; ".join(f"{_variable(part['loc'])}: {part['msg']}" for part in error.errors(include_input=False))
        raise click.UsageError(f"a setting is wrong: {wrong}") from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else ""
    return name if name.isupper() else f"MISSIONSTREAM_{name.upper()}"
