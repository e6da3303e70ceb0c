"""`polyforge tokens`: what texts come to."""

from typing import Annotated

import typer

from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show
from polyforge.cli.texts import read_text

app = plain_app("Count the tokens of texts.")


@app.callback()
def tokens() -> None:
    """Count the tokens of texts."""


@app.command()
def count(
    model: Annotated[str, typer.Option(help="The model that the text is for.")],
    file: Annotated[str, typer.Argument(help="A file with the text; `-`: standard input.")] = "-",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Count the tokens of a text, exactly where the model's tokenizer is at hand."""
    answer = connect(url, key, data).post("/api/v1/tokenize", {"model": model, "text": read_text(file)})
    counted = {name: value for name, value in answer.items() if name != "ids"}
    show(counted, as_json)
