"""`polyforge import`: the settings of another gateway, as ours."""

import os
from pathlib import Path
from typing import Annotated

import typer
import yaml

from polyforge.cli.errors import CommandError
from polyforge.cli.importing.findings import Finding
from polyforge.cli.importing.litellm import Imported, import_litellm
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import Json
from polyforge.cli.output import print_json, print_table
from polyforge.kernel.errors import SettingsError
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen, compose, parse, read_file

app = plain_app("Take over the settings of another gateway.")


@app.callback()
def group() -> None:
    """Take over the settings of another gateway."""


@app.command("litellm")
def litellm(
    config: Annotated[Path, typer.Argument(help="The configuration of the LiteLLM proxy.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the settings; default: print them.")] = None,
    as_json: Json = False,
) -> None:
    """Turn a configuration of the LiteLLM proxy into settings, and list what has no counterpart. Copies no keys."""
    imported = _checked(import_litellm(parse(read_file(config), config), os.environ), config)
    if out is not None:
        _write(out, imported)
    if as_json:
        findings = [finding._asdict() for finding in imported.findings]
        print_json({"settings": imported.settings, "findings": findings})
        return
    if out is None:
        typer.echo(_text(imported) + "".join(f"# {line}\n" for line in map(" | ".join, imported.findings)), nl=False)
    elif imported.findings:
        print_table(["what", "where", "why"], imported.findings)


def _checked(imported: Imported, config: Path) -> Imported:
    """The same, and what adapters find wrong with their settings; SettingsError when the whole cannot be used."""
    settings, _ = compose(imported.settings, f"import of {config}", environ={})
    problems = [_problem(name, chosen) for name, chosen in settings.providers.items()]
    return imported._replace(findings=[*imported.findings, *filter(None, problems)])


def _problem(name: str, chosen: Chosen) -> Finding | None:
    path = f"providers.{name}"
    try:
        adapters.find("providers", path, chosen)
    except SettingsError as error:
        return Finding("to do", path, " ".join(error.message.splitlines()))
    return None


def _write(out: Path, imported: Imported) -> None:
    try:
        with out.open("x") as file:
            file.write(_text(imported))
    except FileExistsError as error:
        raise CommandError(f"{out} is there already; name another file, or move it away") from error
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}") from error


def _text(imported: Imported) -> str:
    return yaml.safe_dump(imported.settings, sort_keys=False, allow_unicode=True)
