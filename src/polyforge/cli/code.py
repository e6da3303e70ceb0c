"""`polyforge code`: code operations over the platform's own API."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from polyforge.cli.chat import MOST_CHARACTERS, read_input
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, visible

app = plain_app("Write, explain, review, mend and test code.")

LANGUAGES: Final = {
    ".c": "c",
    ".cc": "c++",
    ".cpp": "c++",
    ".cs": "c#",
    ".css": "css",
    ".go": "go",
    ".h": "c",
    ".hpp": "c++",
    ".html": "html",
    ".java": "java",
    ".js": "javascript",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".php": "php",
    ".pl": "perl",
    ".py": "python",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".scala": "scala",
    ".sh": "shell",
    ".sql": "sql",
    ".swift": "swift",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""The language that a file's name tells."""
_STANDARD_INPUT: Final = "-"

File = Annotated[str, typer.Argument(help="The file; `-` reads standard input.")]
Language = Annotated[str | None, typer.Option(help="The language. [default: what the file's name tells]")]
Model = Annotated[
    str | None, typer.Option("--model", envvar="POLYFORGE_MODEL", help="The model to ask. [POLYFORGE_MODEL]")
]
Instructions = Annotated[str | None, typer.Option(help="What to pay attention to.")]


@app.command("generate")
def generate(
    instructions: Annotated[str, typer.Argument(help="What the code shall do.")],
    language: Annotated[str, typer.Option(help="The language.")],
    model: Model = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write code."""
    answer = _ask("generate", {"instructions": instructions, "language": language, "model": model}, url, key, data)
    print_json(answer) if as_json else _show_blocks(answer)


@app.command("explain")
def explain(
    file: File,
    level: Annotated[str | None, typer.Option(help="beginner, intermediate or expert.")] = None,
    language: Language = None,
    instructions: Instructions = None,
    model: Model = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Explain code step by step."""
    body = _body(file, language, instructions, model) | {"level": level}
    answer = _ask("explain", body, url, key, data)
    print_json(answer) if as_json else _show_steps(answer)


@app.command("review")
def review(
    file: File,
    focus: Annotated[
        list[str] | None, typer.Option(help="bugs, security, performance, readability or tests; repeat it for more.")
    ] = None,
    language: Language = None,
    instructions: Instructions = None,
    model: Model = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Find what is wrong with code."""
    body = _body(file, language, instructions, model) | {"focus": focus}
    answer = _ask("review", body, url, key, data)
    print_json(answer) if as_json else _show_findings(answer)


@app.command("fix")
def fix(
    file: File,
    error: Annotated[str | None, typer.Option(help="What goes wrong, as in a traceback.")] = None,
    language: Language = None,
    instructions: Instructions = None,
    model: Model = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Mend code; it is shown, and the file stays as it is."""
    body = _body(file, language, instructions, model) | {"error": error}
    answer = _ask("fix", body, url, key, data)
    print_json(answer) if as_json else _show_blocks(answer)


@app.command("test")
def write_tests(
    file: File,
    framework: Annotated[str | None, typer.Option(help="As in `pytest`.")] = None,
    language: Language = None,
    instructions: Instructions = None,
    model: Model = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write tests of code."""
    body = _body(file, language, instructions, model) | {"framework": framework}
    answer = _ask("test", body, url, key, data)
    print_json(answer) if as_json else _show_blocks(answer)


@app.command("complete")
def complete(
    file: File,
    line: Annotated[int, typer.Option(min=1, help="Fill in what is missing after this line.")],
    language: Language = None,
    instructions: Instructions = None,
    model: Model = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Fill in what is missing in code."""
    body = _body(file, language, instructions, model)
    lines: list[str] = body.pop("code").splitlines(keepends=True)
    body |= {"prefix": "".join(lines[:line]), "suffix": "".join(lines[line:])}
    answer = _ask("complete", body, url, key, data)
    print_json(answer) if as_json else _show_blocks(answer)


def _body(file: str, language: str | None, instructions: str | None, model: str | None) -> dict[str, Any]:
    """What most operations take; CommandError when the language is not known."""
    language = language or LANGUAGES.get(Path(file).suffix.lower())
    if language is None:
        raise CommandError("the file's name does not tell its language; pass --language")
    return {"code": _read(file), "language": language, "instructions": instructions, "model": model}


def _read(file: str) -> str:
    if file == _STANDARD_INPUT:
        return read_input()
    try:
        with Path(file).open(encoding="utf-8") as opened:
            text = opened.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8") from error
    if len(text) > MOST_CHARACTERS:
        raise CommandError(f"{file} has more than {MOST_CHARACTERS} characters")
    return text


def _ask(operation: str, body: dict[str, Any], url: str, key: str | None, data: Path | None) -> dict[str, Any]:
    given = {name: value for name, value in body.items() if value is not None}
    return connect(url, key, data).ask(f"/api/v1/code/{operation}", given)


def _show_blocks(answer: dict[str, Any]) -> None:
    for block in answer["blocks"]:
        if block["path"]:
            typer.echo(f"--- {visible(block['path'])}")
        typer.echo(visible(block["code"]).removesuffix("\n"))
    typer.echo(visible(answer["explanation"]), err=True)


def _show_steps(answer: dict[str, Any]) -> None:
    typer.echo(visible(answer["summary"]))
    for step in answer["steps"]:
        first, last = step["lines"]
        typer.echo(f"{first}-{last}: {visible(step['text'])}")


def _show_findings(answer: dict[str, Any]) -> None:
    rows = [
        [each["line"], each["severity"], visible(each["category"]), visible(each["message"])]
        for each in answer["findings"]
    ]
    if rows:
        print_table(["line", "severity", "category", "message"], rows)
    typer.echo(visible(answer["summary"]))
