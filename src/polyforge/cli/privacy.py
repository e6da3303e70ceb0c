"""`polyforge privacy`: personal data and secrets in texts."""

from typing import Annotated, Any

import typer

from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table
from polyforge.cli.texts import read_text

app = plain_app("Find and hide personal data and secrets in texts.")

File = Annotated[str, typer.Argument(help="A file with the text; `-`: standard input.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; may be repeated. [default: all]")]


@app.command()
def detect(
    file: File = "-",
    kinds: Kinds = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show where personal data and secrets are."""
    text = read_text(file)
    answer: dict[str, Any] = connect(url, key, data).post("/api/v1/privacy/detect", {"text": text, "kinds": kinds})
    if as_json:
        print_json(answer)
        return
    rows = [
        [each["kind"], text[each["start"] : each["end"]], each["start"], each["confidence"]] for each in answer["data"]
    ]
    print_table(["kind", "text", "at", "confidence"], rows)


@app.command()
def redact(
    file: File = "-",
    kinds: Kinds = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print the text with personal data and secrets hidden."""
    asked = {"text": read_text(file), "kinds": kinds}
    answer: dict[str, Any] = connect(url, key, data).post("/api/v1/privacy/redact", asked)
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer["text"], nl=not answer["text"].endswith("\n"))
