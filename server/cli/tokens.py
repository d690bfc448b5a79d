"""`missionstream token`: API tokens. A secret is shown once, when it is made, and never again."""

import re
from typing import TYPE_CHECKING, Any

import click

from server.cli.options import database_options, group
from server.cli.output import Output

if TYPE_CHECKING:
    from uuid import UUID

    from server.settings import Settings
    from storage.identity import Membership, Token
    from storage.pool import Database
    from storage.workspaces import Workspace

_ROLES = ("OWNER", "ADMIN", "MANAGER", "MEMBER", "VIEWER")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}


class Duration(click.ParamType[int]):
    """A number of seconds, written 90s, 30m, 12h or 365d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", str(value).strip())
        if match is None:
            self.fail("a duration looks like 90s, 30m, 12h or 365d", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


@group("token")
def token() -> None:
    """API tokens: each acts as one member of one workspace."""


@token.command("create")
@click.argument("name")
@click.option("--workspace", "workspace_name", default="default", show_default=True, help="Where it acts: slug or id.")
@click.option(
    "--user", "user_name", help="Whom it acts as: name, email or id; the workspace's first owner unless given."
)
@click.option("--role", type=click.Choice(_ROLES), help="With --user: make them a member with this role if missing.")
@click.option("--scope", "scopes", multiple=True, help="What it may change at most, such as missions:*; repeatable.")
@click.option("--expires-in", type=Duration(), help="Its life, such as 12h or 90d; for ever unless given.")
@database_options
@click.pass_obj
def create(
    output: Output,
    settings: "Settings",
    name: str,
    workspace_name: str,
    user_name: str | None,
    role: str | None,
    scopes: tuple[str, ...],
    expires_in: int | None,
) -> None:
    """Create a token called NAME and print it, alone on stdout: nobody can show it again."""
    if role and not user_name:
        raise click.UsageError("--role needs --user: whose role is it?")
    from server.cli.attaching import opened, run, workspace_named

    async def work() -> "tuple[Membership, Token, str]":
        from server.auth.issue import issue_token

        async with opened(settings, output) as database:
            home = await workspace_named(database, workspace_name)
            holder = await _holder(database, home, user_name, role)
            made, secret = await issue_token(
                database, _principal(holder), name, scopes=scopes, expires_in_seconds=expires_in
            )
            return holder, made, secret

    holder, made, secret = run(work(), output)
    if output.is_json:
        output.value(_told(made, holder) | {"token": secret})
        return
    print(secret)
    output.say(f"Token {made.id} acts as {holder.user_name} ({holder.role}) in {holder.slug}. It is not shown again.")


async def _holder(database: "Database", home: "Workspace", name: str | None, role: str | None) -> "Membership":
    """The member that the token acts as, made with `role` when there is none; NotFound."""
    from storage import identity
    from streams.errors import NotFound

    found = await _member(database, home.id, name)
    if found is None and name and role:
        user_id = await identity.create_user(database, name, name if "@" in name else None)
        await identity.add_member(database, home.id, user_id, role)
        found = await _member(database, home.id, str(user_id))
    if found is None:
        who = f"no member {name}; --role MEMBER makes one" if name else "no owner; name a member with --user"
        raise NotFound(f"the workspace {home.slug} has {who}")
    return found


async def _member(database: "Database", workspace_id: "UUID", name: str | None) -> "Membership | None":
    from storage import founding, identity

    members = [row for row in await identity.members(database, workspace_id) if row.user_id != founding.DEV_USER]
    if name is None:
        return next((row for row in members if row.role == "OWNER"), None)
    return next((row for row in members if name in (row.user_name, row.email, str(row.user_id))), None)


def _principal(holder: "Membership") -> Any:
    from server.auth import roles
    from server.auth.principal import Principal

    return Principal(
        user_id=holder.user_id,
        name=holder.user_name,
        workspace_id=holder.workspace_id,
        role=holder.role,
        permissions=roles.permissions(holder.role),
    )


@token.command("list")
@click.option("--workspace", "workspace_name", help="Only those of one workspace: slug or id.")
@database_options
@click.pass_obj
def list_tokens(output: Output, settings: "Settings", workspace_name: str | None) -> None:
    """List the tokens that are not revoked, without their secrets."""
    from server.cli.attaching import opened, run, workspace_named
    from server.cli.tables import moment, table
    from storage import identity, workspaces

    async def work() -> "list[tuple[Token, Membership]]":
        async with opened(settings, output) as database:
            if workspace_name:
                homes = [await workspace_named(database, workspace_name)]
            else:
                homes = await workspaces.every(database)
            return [
                (row, member)
                for home in homes
                for member in await identity.members(database, home.id)
                for row in await identity.list_tokens(database, member.user_id)
                if row.workspace_id == home.id
            ]

    found = run(work(), output)
    if output.is_json:
        output.value([_told(row, member) for row, member in found])
        return
    output.show(
        table(
            ("name", "id", "workspace", "user", "role", "scopes", "last used", "expires"),
            [
                (
                    row.name,
                    row.id,
                    member.slug,
                    member.user_name,
                    member.role,
                    " ".join(row.scopes) or "all",
                    moment(row.last_used_at) or "never",
                    moment(row.expires_at) or "never",
                )
                for row, member in found
            ],
        )
    )


@token.command("revoke")
@click.argument("id_or_secret", metavar="ID")
@database_options
@click.pass_obj
def revoke(output: Output, settings: "Settings", id_or_secret: str) -> None:
    """Revoke the token with this ID for good. A leaked secret can stand in the place of its id."""
    from server.cli.attaching import as_uuid, opened, run

    async def work() -> "UUID":
        from server.auth.tokens import digest
        from storage import identity
        from streams.errors import NotFound

        async with opened(settings, output) as database:
            token_id = as_uuid(id_or_secret)
            if token_id is None:
                holder = await identity.find_by_hash(database, digest(id_or_secret))
                if holder is None:
                    raise NotFound("there is no such token; `missionstream token list` shows all")
                token_id = holder.token_id
            await identity.revoke_token(database, token_id)
            return token_id

    token_id = run(work(), output)
    if output.is_json:
        output.value({"id": token_id, "is_revoked": True})
        return
    output.show(f"Token {token_id} is revoked; streams that it opened end within seconds.")


def _told(row: "Token", member: "Membership") -> dict[str, Any]:
    names = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at")
    told = {name: getattr(row, name) for name in names}
    return told | {"workspace": member.slug, "user": member.user_name, "role": member.role}
