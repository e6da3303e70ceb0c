"""What one request wants of the cache, and what came of it."""

import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from polyforge.gateway.caching.semantic import Question
from polyforge.gateway.recorded import Recording
from polyforge.kernel.errors import Invalid
from polyforge.ports.likeness import Vector
from polyforge.registry.caching import CacheRules

CACHE_HEADER: Final = "x-polyforge-cache"
TTL_HEADER: Final = "x-polyforge-cache-ttl"
Mode = Literal["use", "refresh", "bypass"]
"""Take what is kept and keep what is new; only keep what is new; neither."""
Outcome = Literal["hit", "semantic", "miss", "bypass"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
_MODE, _TTL = CACHE_HEADER.encode(), TTL_HEADER.encode()
_MODES: Final[dict[bytes, Mode]] = {b"refresh": "refresh", b"bypass": "bypass", b"use": "use"}
_SECONDS: Final = re.compile(rb"[1-9][0-9]{0,8}")


class Lookup(msgspec.Struct, gc=False):
    """Of one request for a model that has a cache."""

    rules: CacheRules
    mode: Mode
    ttl: float
    """How long its answer is kept, in seconds."""
    path: str = ""
    """Of the request, on the server."""
    body: bytes = b""
    """Of the request, before anything rewrote it."""
    key: str = ""
    """Under which its answer is kept; empty where it is not to be."""
    outcome: Outcome = "bypass"
    age: int = 0
    """Whole seconds since the answer was made that is given again."""
    recording: Recording | None = None
    turn: bool = False
    """Set while others may wait for what is made of it."""
    asked: tuple[Question, Vector] | None = None
    """The question and its vector, where it is compared with others."""


def read_lookup(headers: Mapping[bytes, bytes], rules: CacheRules, path: str = "", body: bytes = b"") -> Lookup:
    """What the headers of a request say; Invalid names one that is malformed."""
    mode, ttl = headers.get(_MODE), headers.get(_TTL)
    if mode is ttl is None:
        return Lookup(rules, "use", rules.ttl, path, body)
    mode = b"use" if mode is None else mode
    if mode not in _MODES:
        raise Invalid(f"{CACHE_HEADER} must be bypass or refresh", param=CACHE_HEADER)
    if ttl is None:
        return Lookup(rules, _MODES[mode], rules.ttl, path, body)
    if not _SECONDS.fullmatch(ttl):
        raise Invalid(f"{TTL_HEADER} must be a whole number of seconds", param=TTL_HEADER)
    return Lookup(rules, _MODES[mode], min(float(ttl), rules.max_ttl), path, body)
