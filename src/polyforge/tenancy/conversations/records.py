"""Saved conversations, and how their words are checked and sealed."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from polyforge.database.scopes import Scope
from polyforge.kernel.errors import Invalid
from polyforge.secrets.sealing import MasterKeys

TITLE_BELONGS_TO: Final = "conversation/{organization_id}/{project_id}/{id}/title"
CONTENT_BELONGS_TO: Final = "conversation/{organization_id}/{project_id}/{id}/content"
"""What sealed words are bound to, so that they do not open in another row, nor one in the place of the other."""
MAX_BYTES: Final = 1_000_000
"""Of the content as JSON; a little below what a body of the management API may have."""
MAX_LEVELS: Final = 64
_LEVEL: Final = 1


class Conversation(msgspec.Struct, frozen=True):
    """What is known of a conversation without its content."""

    id: str
    owner_id: str
    shared: bool
    version: int
    title: str
    size: int
    created_at: float
    updated_at: float


class Whole(msgspec.Struct, frozen=True):
    """A conversation with its content."""

    conversation: Conversation
    content: dict[str, Any]


def content_bytes(content: Mapping[str, Any]) -> bytes:
    """The content as JSON; Invalid for what is too large or too deep, or no JSON."""
    if _levels(content) > MAX_LEVELS:
        raise Invalid(f"content: it is nested more than {MAX_LEVELS} levels deep; flatten it", param="content")
    try:
        made = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise Invalid("content: it holds a number or a text that JSON cannot say", param="content") from error
    if len(made) > MAX_BYTES:
        raise Invalid(
            f"content: it has {len(made)} bytes as JSON, and at most {MAX_BYTES} are kept; leave pictures out, "
            "or save a part of it",
            param="content",
        )
    return made


def _levels(value: Any) -> int:
    """How deep objects and lists are nested, looked at no further than is needed to refuse it."""
    levels, layer = 0, [value]
    while layer and levels <= MAX_LEVELS:
        levels += 1
        layer = [inner for each in layer for inner in _inside(each)]
    return levels


def _inside(value: Any) -> list[Any]:
    """The objects and lists directly in an object or a list."""
    values = cast("Iterable[Any]", value.values() if type(value) is dict else value)
    return [inner for inner in values if type(inner) in (dict, list)]


def seal_title(master: MasterKeys, scope: Scope, id_: str, title: str) -> bytes:
    """A title as it is kept."""
    return master.seal(title.encode(), _bound(TITLE_BELONGS_TO, scope, id_))


def open_title(master: MasterKeys, scope: Scope, id_: str, sealed: bytes) -> str:
    """A title as it was; Unsealable when it cannot be had."""
    return master.open(sealed, _bound(TITLE_BELONGS_TO, scope, id_)).decode()


def seal_content(master: MasterKeys, scope: Scope, id_: str, content: bytes) -> bytes:
    """Content as it is kept."""
    return master.seal(zlib.compress(content, _LEVEL), _bound(CONTENT_BELONGS_TO, scope, id_))


def open_content(master: MasterKeys, scope: Scope, id_: str, sealed: bytes) -> dict[str, Any]:
    """Content as it was; Unsealable when it cannot be had."""
    return json.loads(zlib.decompress(master.open(sealed, _bound(CONTENT_BELONGS_TO, scope, id_))))


def _bound(template: str, scope: Scope, id_: str) -> str:
    return template.format(organization_id=scope.organization_id, project_id=scope.project_id, id=id_)
