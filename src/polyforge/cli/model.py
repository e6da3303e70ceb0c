"""`polyforge model`: what callers may use."""

from typing import Any

from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table

app = plain_app("Show the models that callers may use.")


@app.callback()
def model() -> None:
    """Show the models that callers may use."""


@app.command("list")
def list_models(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show every model that the key may use."""
    answer: dict[str, Any] = connect(url, key, data).get("/v1/models")
    if as_json:
        print_json(answer)
        return
    print_table(["model", "provider"], [(each["id"], each.get("owned_by")) for each in answer["data"]])
