"""What the files of a model may be called: relative, plain, and without two that one disk would take for the same."""

import unicodedata
from collections.abc import Iterable
from typing import Final

from polyforge.kernel.errors import Invalid

_PART_BYTES: Final = 255
_WHOLE_BYTES: Final = 1024
_DEPTH: Final = 16


def check_path(path: str) -> str:
    """The path itself; Invalid when it could lead out of a folder, or a file system could not hold it."""
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise Invalid(f"{path!r} is no path of a file inside the model: it is empty, absolute or leads out of it")
    if "\\" in path or parts[0][1:2] == ":" or not path.isprintable():
        raise Invalid(f"{path!r} holds characters that a path of a model may not have")
    if len(parts) > _DEPTH or len(path.encode()) > _WHOLE_BYTES or any(len(p.encode()) > _PART_BYTES for p in parts):
        raise Invalid(f"{path[:100]!r} is too long, or lies too deep")
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Nothing; Invalid when one is no path, or two of them cannot lie on one disk."""
    seen: dict[str, str] = {}
    for path in paths:
        same = _folded(check_path(path))
        if same in seen:
            raise Invalid(f"{path!r} and {seen[same]!r} are the same file on some disks")
        seen[same] = path
    for same, path in seen.items():
        above = same.rpartition("/")[0]
        while above:
            if above in seen:
                raise Invalid(f"{seen[above]!r} is a file, and the folder of {path!r}")
            above = above.rpartition("/")[0]


def _folded(path: str) -> str:
    """As a disk sees it that does not tell upper case from lower case, or ways to write an accent."""
    return unicodedata.normalize("NFC", path).casefold()
