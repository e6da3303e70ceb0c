"""`polyforge org`: organizations, and who may do what in them, over the management API."""

from typing import Annotated

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show, show_all, to_minute
from polyforge.cli.user import user_id

app = plain_app("Organizations, their members, groups, roles and invitations.")
members = plain_app("Who has which role.")
groups = plain_app("People who are given roles together.")
roles = plain_app("Sets of permissions with a name.")
invitations = plain_app("Roles that wait for somebody to accept them.")
for name, group in (("member", members), ("group", groups), ("role", roles), ("invitation", invitations)):
    app.add_typer(group, name=name)

API = "/api/v1"

Named = Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")]
Project = Annotated[
    str | None, typer.Option("--project", help="Id of the only project it is for. [default: the whole organization]")
]
RoleName = Annotated[str, typer.Option("--role", help="The role, as `polyforge org role list` shows it.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name or id.")]
Who = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]


@app.command("list")
def list_organizations(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show all organizations of the installation, newest first."""
    found = list(connect(url, key, data).pages(f"{API}/organizations"))
    rows = [[each["id"], each["name"], to_minute(each["created_at"])] for each in found]
    show_all(found, ["id", "name", "created"], rows, as_json)


@app.command("create")
def create(
    name: Named,
    owner: Annotated[str | None, typer.Option(help="Id or e-mail address of its owner. [default: you]")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make an organization with one project."""
    client = connect(url, key, data)
    body = {"name": name, "owner_id": None if owner is None else user_id(client, owner)}
    show(client.post(f"{API}/organizations", body), as_json)


@app.command("show")
def show_organization(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show your organization."""
    show(connect(url, key, data).get(f"{API}/organization"), as_json)


@app.command("rename")
def rename(name: Named, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Rename your organization."""
    show(connect(url, key, data).patch(f"{API}/organization", {"name": name}), as_json)


@members.command("list")
def list_members(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show who has which role, newest first."""
    found = list(connect(url, key, data).pages(f"{API}/memberships"))
    rows = [
        [
            each["id"], each["kind"], each["email"] or each["name"], each["role"], each["project_id"] or "all",
            to_minute(each["created_at"]),
        ]
        for each in found
    ]  # fmt: skip
    show_all(found, ["id", "kind", "who", "role", "project", "created"], rows, as_json)


@members.command("add")
def add_member(
    who: Annotated[str, typer.Argument(metavar="WHO", help="A user's id or e-mail address, or a group's id.")],
    role: RoleName,
    group: Annotated[bool, typer.Option("--group", help="WHO is a group.")] = False,
    project: Project = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give a role to a user of the organization or to a group; others are invited."""
    client = connect(url, key, data)
    principal = _group_id(client, who) if group else _member_id(client, who)
    kind = "group" if group else "user"
    body = {"kind": kind, "principal_id": principal, "role": role, "project_id": project}
    show(client.post(f"{API}/memberships", body), as_json)


@members.command("set")
def set_member(
    membership_id: Annotated[str, typer.Argument(metavar="ID", help="The membership's id.")],
    role: RoleName,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give another role instead."""
    show(connect(url, key, data).patch(f"{API}/memberships/{segment(membership_id)}", {"role": role}), as_json)


@members.command("rm")
def remove_member(
    membership_id: Annotated[str, typer.Argument(metavar="ID", help="The membership's id.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Take a role away."""
    connect(url, key, data).delete(f"{API}/memberships/{segment(membership_id)}")
    typer.echo(f"removed {membership_id}")


@app.command("invite")
def invite(
    email: Annotated[str, typer.Argument(help="Whom.")],
    role: RoleName,
    project: Project = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Invite somebody by e-mail."""
    body = {"email": email, "role": role, "project_id": project}
    show(connect(url, key, data).post(f"{API}/invitations", body), as_json)


@invitations.command("list")
def list_invitations(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show the invitations, newest first."""
    found = list(connect(url, key, data).pages(f"{API}/invitations"))
    rows = [
        [
            each["id"], each["email"], each["role"], each["project_id"] or "all", to_minute(each["expires_at"]),
            to_minute(each["accepted_at"]), to_minute(each["revoked_at"]),
        ]
        for each in found
    ]  # fmt: skip
    show_all(found, ["id", "email", "role", "project", "expires", "accepted", "revoked"], rows, as_json)


@invitations.command("revoke")
def revoke_invitation(
    invitation_id: Annotated[str, typer.Argument(metavar="ID", help="The invitation's id.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Take an invitation back."""
    connect(url, key, data).delete(f"{API}/invitations/{segment(invitation_id)}")
    typer.echo(f"revoked {invitation_id}")


@roles.command("list")
def list_roles(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show the roles that can be given: the built-in ones, then the organization's own."""
    found = list(connect(url, key, data).pages(f"{API}/roles"))
    show_all(found, ["name", "permissions"], [[each["name"], each["permissions"]] for each in found], as_json)


@roles.command("create")
def create_role(
    name: Named,
    permission: Annotated[list[str], typer.Option(help="It permits this; repeat it for more.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a role of permissions that you have yourself."""
    body = {"name": name, "permissions": permission}
    show(connect(url, key, data).post(f"{API}/roles", body), as_json)


@roles.command("rm")
def remove_role(name: Named, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Delete a role that nobody has."""
    client = connect(url, key, data)
    client.delete(f"{API}/roles/{segment(_id_of(client, 'roles', name))}")
    typer.echo(f"removed {name}")


@groups.command("list")
def list_groups(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show the groups, newest first."""
    found = list(connect(url, key, data).pages(f"{API}/groups"))
    rows = [[each["id"], each["name"], each["external"], to_minute(each["created_at"])] for each in found]
    show_all(found, ["id", "name", "external", "created"], rows, as_json)


@groups.command("create")
def create_group(
    name: Named,
    external: Annotated[str | None, typer.Option(help="What the identity provider calls it.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a group."""
    show(connect(url, key, data).post(f"{API}/groups", {"name": name, "external": external}), as_json)


@groups.command("members")
def list_group_members(
    group: Group, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Show who is in a group."""
    client = connect(url, key, data)
    found = list(client.pages(f"{API}/groups/{segment(_group_id(client, group))}/members"))
    show_all(found, ["id", "email", "name"], [[each["id"], each["email"], each["name"]] for each in found], as_json)


@groups.command("join")
def join_group(group: Group, who: Who, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Put a user of the organization into a group."""
    client = connect(url, key, data)
    client.put(f"{API}/groups/{segment(_group_id(client, group))}/members/{segment(_member_id(client, who))}", {})
    typer.echo(f"{who} is in {group}")


@groups.command("leave")
def leave_group(group: Group, who: Who, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Take a user out of a group."""
    client = connect(url, key, data)
    client.delete(f"{API}/groups/{segment(_group_id(client, group))}/members/{segment(_member_id(client, who))}")
    typer.echo(f"{who} is no longer in {group}")


@groups.command("rm")
def remove_group(group: Group, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Delete a group with its roles."""
    client = connect(url, key, data)
    client.delete(f"{API}/groups/{segment(_group_id(client, group))}")
    typer.echo(f"removed {group}")


def _id_of(client: ApiClient, kind: str, wanted: str) -> str:
    """The id of a thing that is named by its name or its id."""
    for each in client.pages(f"{API}/{kind}"):
        if wanted in (each["id"], each["name"]) and each["id"] is not None:
            return str(each["id"])
    raise CommandError(f"there is no {kind.removesuffix('s')} {wanted!r}")


def _group_id(client: ApiClient, wanted: str) -> str:
    return _id_of(client, "groups", wanted)


def _member_id(client: ApiClient, who: str) -> str:
    """The id of a user of the organization who is named by id or by e-mail address."""
    if "@" not in who:
        return who
    for each in client.pages(f"{API}/memberships"):
        if each["kind"] == "user" and each["email"] == who.lower():
            return str(each["principal_id"])
    raise CommandError(f"there is no {who} with a role in the organization; invite them")
