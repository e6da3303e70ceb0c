"""Values that must not stand on a command line: they come from a file, the environment, a pipe, or are asked for."""

import os
import sys
from pathlib import Path

import typer

from polyforge.cli.errors import CommandError


def read_secret(from_file: Path | None, from_env: str | None, asked: str = "value") -> str:
    """The value, without the line break that files and pipes end with."""
    if from_file is not None and from_env is not None:
        raise CommandError("give the file or the environment variable, not both")
    if from_env is not None:
        value = os.environ.get(from_env, "")
    elif from_file is not None:
        value = _read(from_file)
    elif sys.stdin.isatty():
        value = str(typer.prompt(asked, hide_input=True))
    else:
        value = sys.stdin.read()
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise CommandError("the value is empty")
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not text in UTF-8") from error
