"""The canonical form of a flow (RFC 8785) and the version id that follows from it."""

import hashlib
from typing import cast

import rfc8785

from polyforge.flows.document import Document, Json, written


def canonical_bytes(document: Document) -> bytes:
    """Everything that counts, as bytes that are the same for the same flow; `ui` does not count."""
    whole = written(document)
    whole.pop("ui", None)
    return canonical_json(whole)


def canonical_json(value: Json) -> bytes:
    """A JSON value in the one way in which RFC 8785 writes it."""
    return rfc8785.dumps(value)


def version_id(document: Document) -> str:
    """What a version of a flow is called: the SHA-256 of its canonical form, in hexadecimal."""
    return hashlib.sha256(canonical_bytes(document)).hexdigest()


def save(document: Document) -> bytes:
    """The whole flow, `ui` included, as it is kept: canonical too, so that saving what was loaded changes nothing."""
    return canonical_json(written(document))


def same(one: Json, other: Json) -> bool:
    """Whether two JSON values are the same; `1` and `1.0` are, `1` and `true` are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return _same_objects(cast("dict[str, Json]", one), cast("dict[str, Json]", other))
    if isinstance(one, list) and isinstance(other, list):
        return _same_lists(cast("list[Json]", one), cast("list[Json]", other))
    return bool(one == other)


def _same_objects(one: dict[str, Json], other: dict[str, Json]) -> bool:
    return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)


def _same_lists(one: list[Json], other: list[Json]) -> bool:
    return len(one) == len(other) and all(same(left, right) for left, right in zip(one, other, strict=True))
