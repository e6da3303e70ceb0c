"""`polyforge provider`: the upstream services that models are called at."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from polyforge.cli.client import segment
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, show_all
from polyforge.cli.values import read_secret

ABOUT = "Show providers; add, try and remove some. Those of polyforge.yaml are changed there."

app = plain_app(ABOUT)

PATH = "/api/v1/providers"

Name = Annotated[str, typer.Argument(help="What deployments call it.")]
Use = Annotated[str, typer.Argument(help="Its kind, as `polyforge provider kinds` names it.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting, as text or JSON; repeat it for more."),
]
KeyFile = Annotated[Path | None, typer.Option(help="Read the key from this file.")]
KeyEnv = Annotated[str | None, typer.Option(help="Read the key from this environment variable.")]
KeyIn = Annotated[bool, typer.Option("--key-from-input", help="Read the key from a pipe, or ask for it.")]
KeyField = Annotated[str, typer.Option(help="Which setting the key is.")]
Model = Annotated[str | None, typer.Option(help="Ask this model for a word. [default: ask which models it has]")]


@app.command("list")
def list_providers(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show all providers."""
    providers: list[dict[str, Any]] = connect(url, key, data).get(PATH)["data"]
    headers = ["name", "kind", "declared in", "models", "trouble"]
    show_all(providers, headers, [_row(each) for each in providers], as_json)


@app.command("kinds")
def list_kinds(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what kinds of providers there are."""
    kinds: list[dict[str, Any]] = connect(url, key, data).get("/api/v1/provider-kinds")["data"]
    rows = [[kind["name"], kind["label"], kind["secrets"], kind["error"]] for kind in kinds]
    show_all(kinds, ["kind", "label", "secrets", "trouble"], rows, as_json)


@app.command("add")
def add(
    name: Name,
    use: Use,
    settings: Set = None,
    key_from_file: KeyFile = None,
    key_from_env: KeyEnv = None,
    key_from_input: KeyIn = False,
    key_field: KeyField = "api_key",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add a provider. Its key is kept as a secret, and never shown again."""
    given = _settings(settings, key_from_file, key_from_env, key_from_input, key_field)
    made = connect(url, key, data).post(PATH, {"name": name, "use": use, "settings": given})
    if as_json:
        print_json(made)
        return
    typer.echo(f"added {name}; `polyforge provider test {name}` tries it")


@app.command("test")
def try_provider(
    name: Name, model: Model = None, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Try a provider with one real, cheap call."""
    result: dict[str, Any] = connect(url, key, data).ask(f"{PATH}/{segment(name)}/test", {"model": model})
    if as_json:
        print_json(result)
    if result["error"] is not None:
        raise CommandError(f"{result['error']['message']} ({result['error']['hint']})")
    if as_json:
        return
    typer.echo(f"{name} answered in {result['latency_ms']:g} ms")
    if result["models"]:
        print_table(["model"], [[model] for model in result["models"]])


@app.command("rm")
def remove(name: Name, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Remove an added provider, with its keys; refused while models use it."""
    connect(url, key, data).delete(f"{PATH}/{segment(name)}")
    typer.echo(f"removed {name}")


def _settings(
    given: list[str] | None, from_file: Path | None, from_env: str | None, from_input: bool, field: str
) -> dict[str, Any]:
    settings = dict(_setting(each) for each in given or ())
    if from_file is not None or from_env is not None or from_input:
        settings[field] = read_secret(from_file, from_env, field)
    return settings


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise CommandError(f"--set {text}: give it as NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _row(provider: dict[str, Any]) -> list[object]:
    return [provider["name"], provider["use"], provider["declared_in"], provider["models"], provider["error"]]
