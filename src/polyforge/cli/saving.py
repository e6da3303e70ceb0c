"""How commands write what they fetch into files."""

import os
from collections.abc import Iterable
from pathlib import Path

from polyforge.cli.errors import CommandError


def write_file(chunks: Iterable[bytes], file: Path) -> int:
    """Write to a file, which is there once it is whole; how many chunks there were."""
    # A pipe or a device is written to as it is: nothing can take its place.
    part = file if file.exists() and not file.is_file() else file.with_name(f"{file.name}.part")
    count = 0
    try:
        with part.open("wb") as out:
            for chunk in chunks:
                out.write(chunk)
                count += 1
        if part != file:
            os.replace(part, file)
    except OSError as error:
        raise CommandError(f"cannot write {file}: {error.strerror}") from error
    finally:
        if part != file:
            part.unlink(missing_ok=True)
    return count
