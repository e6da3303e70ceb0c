"""`polyforge model`: what callers may use, what answers for it, and what the project keeps itself."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from polyforge.cli.lazy import plain_app
from polyforge.cli.model_versions import COMMANDS, PATH, registered
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, show_all

ABOUT = "Show the models that callers may use and where their requests go; add, promote and remove models of one's own."

app = plain_app(ABOUT)


@app.callback(help=ABOUT)
def model() -> None:
    """Nothing of its own."""


@app.command("list")
def list_models(
    own: Annotated[
        bool, typer.Option("--registered", help="Those that the project keeps, with their versions.")
    ] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show every model that the key may use."""
    api = connect(url, key, data)
    if own:
        found = list(api.pages(f"{PATH}/registered"))
        headers = ["model", "newest", "aliases", "protected", "added"]
        show_all(found, headers, [registered(each) for each in found], as_json)
        return
    answer: dict[str, Any] = api.get("/v1/models")
    if as_json:
        print_json(answer)
        return
    print_table(["model", "provider"], [(each["id"], each.get("owned_by")) for each in answer["data"]])


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="The model.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the deployments of a model, their prices in USD per million tokens, and how they do."""
    answer: dict[str, Any] = connect(url, key, data).get(_path(name))
    if as_json:
        print_json(answer)
        return
    headers = ["provider", "model", "priority", "weight", "input", "output", "prices", "state"]
    print_table(headers, [_row(place) for place in answer["deployments"]])


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="The model.")],
    input_tokens: Annotated[int, typer.Option(help="Tokens of the prompt.")] = 1_000,
    output_tokens: Annotated[int, typer.Option(help="Tokens of the answer.")] = 500,
    images: Annotated[int, typer.Option(help="Images in the prompt.")] = 0,
    tools: Annotated[bool, typer.Option("--tools", help="Offers tools.")] = False,
    structured_output: Annotated[bool, typer.Option("--structured-output", help="Wants a JSON schema kept.")] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Is streamed.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="Wants this tag; may be repeated.")] = None,
    region: Annotated[str | None, typer.Option(help="Wants this region.")] = None,
    hardware: Annotated[str | None, typer.Option(help="Wants cpu or gpu.")] = None,
    provider: Annotated[str | None, typer.Option(help="Wants this provider.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Wants weighted, least_latency or least_cost.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show where a request would go now, attempt by attempt, and why the other deployments are left out."""
    sizes = {"input_tokens": input_tokens, "output_tokens": output_tokens, "images": images}
    wants = {"tools": tools, "structured_output": structured_output, "stream": stream}
    chosen = {"region": region, "hardware": hardware, "provider": provider, "strategy": strategy}
    asked = {**sizes, **wants, **chosen}
    query: dict[str, str | list[str] | None] = {name: _text(value) for name, value in asked.items()}
    query["tag"] = tag
    answer: dict[str, Any] = connect(url, key, data).get(f"{_path(name)}/explain", query)
    if as_json:
        print_json(answer)
        return
    rows = [(each["attempt"], each["provider"], each["model"], each["why"]) for each in answer["attempts"]]
    rows += [(None, each["provider"], each["model"], each["why"]) for each in answer["left_out"]]
    print_table(["attempt", "provider", "model", "why"], rows)


for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def _path(name: str) -> str:
    """Slashes are part of a model's name."""
    return f"{PATH}/{quote(name)}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _row(place: dict[str, Any]) -> list[Any]:
    price: dict[str, Any] = place["price"] or {}
    row = [place[field] for field in ("provider", "model", "priority", "weight")]
    return [*row, price.get("input"), price.get("output"), price.get("origin"), place["health"]["state"]]
