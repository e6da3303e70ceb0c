"""Keeps secrets out of what is written: fields by their name, keys and passwords wherever they stand."""

import re
from collections.abc import Mapping
from typing import cast

MASK = "********"

_SECRET_NAMES = frozenset({"authorization", "key", "password", "passwd", "secret", "token", "cookie", "apikey"})
_SECRET_ENDINGS = tuple(f"_{name}" for name in sorted(_SECRET_NAMES))
_DEEPEST = 8

_KEYS = re.compile(r"\b(pfs?|sk)-[A-Za-z0-9_-]{8,}")
_BEARERS = re.compile(r"\b(bearer(?=\s+\S{8})|basic(?=\s+\S{16}))\s+[A-Za-z0-9+/_.=~-]+", re.IGNORECASE)
_URL_PASSWORDS = re.compile(r"(://[^/\s:@\"\\]*):[^@/\s\"\\]+@")


def names_secret(name: str) -> bool:
    """Whether a field of this name holds a secret: `api_key`, `X-Api-Key` and `admin_token` do, `key_id` does not."""
    name = name.lower().replace("-", "_")
    return name in _SECRET_NAMES or name.endswith(_SECRET_ENDINGS)


def mask_fields(fields: Mapping[str, object], depth: int = 0) -> dict[str, object]:
    """`fields` with stars in place of every one, at any depth, whose name says secret; numbers are no secrets."""
    return {str(name): _mask(str(name), value, depth) for name, value in fields.items()}


def _mask(name: str, value: object, depth: int) -> object:
    if isinstance(value, int | float | None):
        return value
    if names_secret(name):
        return MASK
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return mask_fields(cast(dict[str, object], value), depth + 1)
    if isinstance(value, list | tuple):
        return [_mask("", inner, depth + 1) for inner in cast(list[object], value)]
    return value


def mask_keys(text: str) -> str:
    """`text` without what looks like an API key; nearly free where there is none."""
    if "pf-" in text or "pfs-" in text or "sk-" in text:
        return _KEYS.sub(r"\1-********", text)
    return text


def mask_text(text: bytes) -> bytes:
    """UTF-8 `text` without what looks like an API key, a bearer token or a password in a URL."""
    masked = mask_keys(text.decode("utf-8", "replace"))
    if "://" in masked:
        masked = _URL_PASSWORDS.sub(r"\1:********@", masked)
    return _BEARERS.sub(r"\1 ********", masked).encode()
