"""`polyforge login`: a session for later commands."""

import sys
from typing import Annotated

import typer

from polyforge.cli import sessions
from polyforge.cli.client import ApiClient, SignedIn
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Url

app = plain_app()


@app.command()
def login(
    email: Annotated[str | None, typer.Option(help="Your e-mail address. [default: asked for]")] = None,
    code: Annotated[
        str | None, typer.Option(help="A code of your second factor, or a recovery code. [default: asked for]")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from a pipe.")] = False,
    url: Url = DEFAULT,
) -> None:
    """Sign in with an e-mail address and a password; later commands then need no key."""
    email = email or str(typer.prompt("E-mail"))
    password = read_password(password_stdin)
    client = ApiClient(url, None)
    answer, cookie = client.post_for_cookie("/api/v1/auth/sign-in", {"email": email, "password": password})
    if answer["second_factor"] is not None:
        step = {"token": answer["second_factor"], "code": code or str(typer.prompt("Code"))}
        _, cookie = client.post_for_cookie("/api/v1/auth/second-factor", step)
    if cookie is None:
        raise CommandError("the gateway gave no session")
    csrf = ApiClient(url, None, SignedIn(email, cookie, "")).get("/api/v1/me")["csrf"]
    sessions.keep(url, SignedIn(email, cookie, str(csrf)))
    typer.echo(f"signed in as {email}")


def read_password(from_pipe: bool, *, twice: bool = False) -> str:
    """A password that is asked for without showing it, or the first line of a pipe."""
    if from_pipe:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=twice))
