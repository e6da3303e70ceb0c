"""Small files of state in JSON: read with a bound, and replaced at once, so that nobody ever sees half of one."""

from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.kernel.ids import new_ulid

_T = TypeVar("_T")
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def read_state(path: Path, kind: type[_T], max_bytes: int) -> _T | None:
    """What a file says, None while there is none; Invalid when it cannot be read, is longer, or says something else."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise Invalid(f"{path.name} cannot be read: it has more than {max_bytes} bytes")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path.name} cannot be read: {error}") from error


def write_state(path: Path, content: object) -> None:
    """Replace a file, and make its folder if need be; OSError as the disk says, and then the file is as it was."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{new_ulid()}")
    try:
        draft.write_bytes(_encode(content))
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
