"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from polyforge.cli import sessions
from polyforge.cli.client import DEFAULT_URL, ApiClient, find_key, named_key

Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file. [POLYFORGE_CONFIG; default: polyforge.yaml, if there is one]"),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of everything that is kept. [POLYFORGE_DATA; default: polyforge-data]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str, typer.Option("--url", envvar="POLYFORGE_URL", show_envvar=False, help="The gateway. [POLYFORGE_URL]")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="The key to call with. [POLYFORGE_API_KEY, POLYFORGE_ADMIN_KEY, else who ran `polyforge login`, "
        "on this machine also admin.key in the data folder]",
    ),
]
Latest = Annotated[int, typer.Option(min=1, max=100_000, help="How many of the latest to show.")]
DEFAULT = DEFAULT_URL


def overrides_of(data: Path | None, **server: Any) -> dict[str, Any]:
    """Settings from the command line; None means not given."""
    tree: dict[str, Any] = {}
    if data is not None:
        tree["data"] = str(data.absolute())
    if given := {name: value for name, value in server.items() if value is not None}:
        tree["server"] = given
    return tree


def connect(url: str, key: str | None, data: Path | None) -> ApiClient:
    """A client for the gateway at `url`, with a named key, or else as who signed in, or else with a key at hand."""
    session = None if named_key(key) else sessions.find(url)
    return ApiClient(url, None if session else find_key(url, key, str(data) if data else None), session)
