"""`polyforge guardrail`: which guardrails there are, and what they would do with a text."""

from typing import Annotated, Any

import typer

from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table
from polyforge.cli.texts import read_text

app = plain_app("Show guardrails, and try them on a text.")


@app.command("list")
def list_guardrails(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show every guardrail, in the order in which calls pass them."""
    answer: dict[str, Any] = connect(url, key, data).get("/api/v1/guardrails")
    if as_json:
        print_json(answer)
        return
    rows = [
        [each["name"], each["use"], ", ".join(each["on"]), each["action"], "all" if each["always"] else "by model"]
        for each in answer["data"]
    ]
    print_table(["name", "use", "on", "action", "calls"], rows)


@app.command("test")
def try_out(
    file: Annotated[str, typer.Argument(help="A file with the text; `-`: standard input.")] = "-",
    name: Annotated[list[str] | None, typer.Option(help="Only this guardrail; may be repeated. [default: all]")] = None,
    output: Annotated[bool, typer.Option("--output", help="Judge the text as an answer, not as a request.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what each guardrail would do with a text. No model answers it; what guardrails ask models is charged for."""
    asked = {"text": read_text(file), "guardrails": name, "stage": "output" if output else "input"}
    answer: dict[str, Any] = connect(url, key, data).post("/api/v1/guardrails/test", asked)
    if as_json:
        print_json(answer)
        return
    rows = [
        [each["name"], each["decision"], ", ".join(each["kinds"]), each["milliseconds"], each["text"] or ""]
        for each in answer["data"]
    ]
    print_table(["name", "decision", "found", "ms", "text"], rows)
