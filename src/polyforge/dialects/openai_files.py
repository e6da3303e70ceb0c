"""OpenAI's files: what they look like, and how lists of them are asked for.

Source: https://platform.openai.com/docs/api-reference/files
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal
from urllib.parse import parse_qs

import msgspec

from polyforge.kernel.errors import Invalid, NotFound
from polyforge.kernel.ids import decode

FILE_PREFIX: Final = "file-"
PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""What files may be uploaded for."""
BATCH: Final = "batch"
BATCH_OUTPUT: Final = "batch_output"
LEAST_SECONDS: Final = 3_600
MOST_SECONDS: Final = 2_592_000
_ANCHOR: Final = "expires_after[anchor]"
_SECONDS: Final = "expires_after[seconds]"
FIELDS: Final = frozenset({"purpose", _ANCHOR, _SECONDS})
"""What a form may say of its file; other fields are passed over."""
_MOST_FILES: Final = 10_000
Order = Literal["asc", "desc"]
_encode: Final = msgspec.json.Encoder().encode


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file as OpenAI's clients read it."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class Listing(msgspec.Struct, frozen=True):
    """Which of many, in which order."""

    limit: int
    order: Order = "desc"
    after: str | None = None
    """The id that the page follows, as it is kept."""
    purpose: str | None = None


def file_id(ulid: str) -> str:
    """An id as callers see it."""
    return FILE_PREFIX + ulid


def ulid_of(id_: str, prefix: str = FILE_PREFIX, noun: str = "file") -> str:
    """An id as it is kept; NotFound for what cannot be one."""
    ulid = id_.removeprefix(prefix)
    try:
        decode(ulid)
    except ValueError:
        raise absent(id_, noun) from None
    if ulid == id_:
        raise absent(id_, noun)
    return ulid.upper()


def absent(id_: str, noun: str = "file") -> NotFound:
    """What is said of one that does not exist, or is another project's."""
    return NotFound(f"there is no {noun} {id_[:60]!r}", param="id")


def encode_file(file: FileObject) -> bytes:
    """One file."""
    return _encode(file)


def encode_deleted(id_: str) -> bytes:
    """That it is gone."""
    return _encode({"id": id_, "object": "file", "deleted": True})


def encode_page(items: Sequence[msgspec.Struct], ids: Sequence[str], *, more: bool) -> bytes:
    """A page of a list."""
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return _encode({"object": "list", "data": items, **ends, "has_more": more})


def read_listing(
    query: bytes, prefix: str = FILE_PREFIX, noun: str = "file", *, most: int = _MOST_FILES, usual: int = _MOST_FILES
) -> Listing:
    """What a list is asked for with; Invalid for what does not fit."""
    asked = parse_qs(query.decode("latin-1"))
    order = asked.get("order", ["desc"])[0]
    if order not in ("asc", "desc"):
        raise Invalid("order must be asc or desc", param="order")
    after = asked.get("after", [None])[0]
    return Listing(
        _limit_of(asked, most, usual),
        order,
        None if after is None else ulid_of(after, prefix, noun),
        asked.get("purpose", [None])[0],
    )


def read_purpose(fields: Mapping[str, str]) -> str:
    """What a file is uploaded for; Invalid where that is not said, or nothing of ours."""
    purpose = fields.get("purpose")
    if purpose not in PURPOSES:
        raise Invalid(f"purpose must be one of {', '.join(PURPOSES)}", param="purpose")
    return purpose


def read_expiry(fields: Mapping[str, str]) -> int | None:
    """After how many seconds a file is to be deleted, None where that is not said."""
    anchor, seconds = fields.get(_ANCHOR), fields.get(_SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise Invalid("expires_after.anchor must be created_at", param="expires_after.anchor")
    if seconds is None or not seconds.isascii() or not seconds.isdigit():
        raise Invalid("expires_after.seconds must be a number", param="expires_after.seconds")
    return checked_expiry(int(seconds[:12]), "expires_after.seconds")


def checked_expiry(seconds: int, param: str) -> int:
    """The same as it is; Invalid where it is too short or too long."""
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise Invalid(f"{param} must be between {LEAST_SECONDS} and {MOST_SECONDS}", param=param)
    return seconds


def _limit_of(asked: Mapping[str, list[str]], most: int, usual: int) -> int:
    said = asked.get("limit")
    if said is None:
        return usual
    if not said[0].isascii() or not said[0].isdigit() or not 1 <= int(said[0][:9]) <= most:
        raise Invalid(f"limit must be between 1 and {most}", param="limit")
    return int(said[0])
