"""`polyforge logout`: the end of a session."""

from http import HTTPStatus
from typing import Annotated

import typer

from polyforge.cli import sessions
from polyforge.cli.client import ApiClient
from polyforge.cli.errors import Refused
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Url

app = plain_app()


@app.command()
def logout(
    everywhere: Annotated[bool, typer.Option("--everywhere", help="End every session of yours.")] = False,
    url: Url = DEFAULT,
) -> None:
    """End the session that `polyforge login` began."""
    session = sessions.find(url)
    if session is None:
        typer.echo("you are not signed in")
        return
    try:
        ApiClient(url, None, session).post(f"/api/v1/me/{'sign-out-everywhere' if everywhere else 'sign-out'}")
    except Refused as error:
        # A session that is over already needs no end; anything else is told.
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
    sessions.forget(url)
    typer.echo(f"signed out {session.email}")
