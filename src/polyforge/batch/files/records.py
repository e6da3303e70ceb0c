"""Files as they are known of."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from polyforge.database.scopes import Scope

LONGEST_NAME: Final = 255


class File(msgspec.Struct, frozen=True):
    """A file of a project."""

    id: str
    owner_id: str
    user_id: str | None
    purpose: str
    name: str
    size: int
    sha256: str
    created_at: float
    expires_at: float | None


class Wish(msgspec.Struct, frozen=True):
    """What a file is for, and for how many seconds it is wanted."""

    purpose: str
    seconds: float | None = None


Told = Callable[[], Awaitable[Wish]]
"""Tells what a file is for, once its bytes have gone past."""


def object_key(scope: Scope, file_id: str) -> str:
    """Where the bytes of a file lie."""
    return f"{scope.project_id}/files/{file_id}"


def file_name(said: str) -> str:
    """What a file is called: the last segment of what was said, without what no name may hold."""
    last = said.replace("\\", "/").rpartition("/")[2]
    printable = "".join(character for character in last if character.isprintable())
    return printable.strip()[:LONGEST_NAME] or "file"
