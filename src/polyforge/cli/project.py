"""`polyforge project`: projects over the management API."""

from typing import Annotated

import typer

from polyforge.cli.client import segment
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show, show_all, to_minute

app = plain_app("Create, list and choose projects.")

PATH = "/api/v1/projects"

ProjectId = Annotated[str, typer.Argument(metavar="ID", help="The project's id, as `polyforge project list` shows it.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a project in your organization."""
    show(connect(url, key, data).post(PATH, {"name": name}), as_json)


@app.command("list")
def list_projects(
    mine: Annotated[bool, typer.Option("--mine", help="Those you may work in, of whichever organization.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the projects of your organization, newest first."""
    projects = list(connect(url, key, data).pages("/api/v1/me/projects" if mine else PATH))
    rows = [[each["id"], each["name"], each["organization_id"], to_minute(each["created_at"])] for each in projects]
    show_all(projects, ["id", "name", "organization", "created"], rows, as_json)


@app.command("rename")
def rename(
    project_id: ProjectId,
    name: Annotated[str, typer.Argument(help="What it shall be called.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Rename a project."""
    show(connect(url, key, data).patch(f"{PATH}/{segment(project_id)}", {"name": name}), as_json)


@app.command("use")
def use(project_id: ProjectId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Work in a project from now on, until another is chosen; for who signed in."""
    connect(url, key, data).put("/api/v1/me/project", {"project_id": project_id})
    typer.echo(f"working in {project_id}")
