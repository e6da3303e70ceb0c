"""Texts that commands are given: by file, or on standard input."""

import sys
from pathlib import Path

from polyforge.cli.errors import CommandError


def read_text(file: str) -> str:
    """What is in a file, `-`: on standard input; CommandError where that is no text in UTF-8."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is no text in UTF-8") from error
