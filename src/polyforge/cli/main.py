"""`polyforge`: the table of commands, and how every failure is told."""

import sys
from typing import Annotated, ClassVar

import typer

from polyforge import __version__
from polyforge.cli.errors import FAILED, WRONG_SETTINGS, CommandError
from polyforge.cli.lazy import LazyGroup, plain_app
from polyforge.kernel.errors import PolyforgeError, SettingsError


class Commands(LazyGroup):
    """All commands."""

    COMMANDS: ClassVar[dict[str, str]] = {
        "up": "Start gateways, model host and worker, and keep them running.",
        "check": "Show the effective settings and where each comes from.",
        "import": "Take over the settings of another gateway.",
        "migrate": "Bring the database up to date, and do nothing else.",
        "login": "Sign in with an e-mail address and a password.",
        "logout": "End the session that `polyforge login` began.",
        "user": "Create, list, disable and remove users.",
        "org": "Organizations, their members, groups, roles and invitations.",
        "project": "Create, list and choose projects.",
        "service-account": "Create, list, rotate and disable service accounts.",
        "key": "Create, list, rotate and revoke API keys.",
        "chat": "Say something to a model.",
        "code": "Write, explain, review, mend and test code.",
        "limit": "Set, list, change and remove limits; reset them, add to them.",
        "budget": "Show budgets: the limits that count money.",
        "requests": "Show what was asked of models, request by request.",
        "usage": "Show what was used and what it cost.",
        "costs": "Show cost, price and margin, and what the month will come to.",
        "cache": "Show what cached answers saved, and let go of them.",
        "guardrail": "Show guardrails, and try them on a text.",
        "privacy": "Find and hide personal data and secrets in texts.",
        "audit": "Search, verify and export the audit log.",
        "secret": "Set, list and remove secrets, and renew what seals them.",
        "config": "Show declared models, return to earlier ones, reload them.",
        "flag": "Set, list, remove and bring back feature flags.",
        "events": "Show what happened, and follow what happens.",
        "job": "Show, follow, cancel and repeat jobs; keep schedules.",
        "batch": "Make calls by the thousand, of files or tables.",
        "flow": "Make, version, compare, bring in and run flows.",
        "tokens": "Count the tokens of texts.",
        "provider": "Show providers; add, try and remove some.",
        "model": "Show models and where calls would go; add and promote own.",
    }


app = plain_app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"polyforge {__version__}")
        raise typer.Exit


@app.callback(cls=Commands, no_args_is_help=True)
def polyforge(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """One gateway, one set of keys, and behind it every model a team runs."""


def main() -> None:
    """Run the command line and end the process: 0 done, 1 failed, 2 wrong arguments or settings."""
    try:
        app(prog_name="polyforge")
    except SettingsError as error:
        _end(error.message, WRONG_SETTINGS)
    except PolyforgeError as error:
        _end(error.message, FAILED)
    except CommandError as error:
        _end(str(error), FAILED)


def _end(message: str, status: int) -> None:
    typer.echo(f"polyforge: {message}", err=True)
    sys.exit(status)
