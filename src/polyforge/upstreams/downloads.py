"""Files behind URLs that somebody chose: looked at, read from any byte on, through redirects, at public addresses only.

What a caller sends to prove who it is goes to the first host alone (RFC 9110 section 15.4), and a redirect never leads
from TLS to plain HTTP.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import msgspec

from polyforge.egress.addresses import check_url
from polyforge.egress.guarding import public_address
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import Conflict, Denied, Invalid, NotFound, PolyforgeError, Unavailable
from polyforge.kernel.retry_after import read_retry_after

_OK: Final = 200
_PARTIAL: Final = 206
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BAD_RANGE: Final = 416
_FAILED_CONDITION: Final = 412
CHANGED: Final = "the file was changed while it was fetched; try again"
_DENIED: Final = frozenset({401, 403})
_ABSENT: Final = frozenset({404, 410})
_PASSING: Final = frozenset({408, 425, 429})
_SERVER_ERRORS: Final = 500
_MAX_REDIRECTS: Final = 5
_CONNECT_SECONDS: Final = 15.0
_PATH_CHARACTERS: Final = "/:@!$&'()*+,;=-._~%"
NO_HEADERS: Final[Mapping[str, str]] = {}


class RemoteFile(msgspec.Struct, frozen=True):
    """What a server says of a file. `validator` is its strong ETag, empty when it has none."""

    size: int | None
    validator: str
    modified: str


class Downloads:
    """Reads files. Hosts in `allowed` may be in private networks, and may be asked without TLS."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)

    async def look(self, url: str, headers: Mapping[str, str] = NO_HEADERS, *, trusted: bool = False) -> RemoteFile:
        """What is there, without reading it; NotFound when nothing is."""
        async with self._opened(url, {**headers, "range": "bytes=0-0"}, headers, trusted) as answer:
            if answer.status == _BAD_RANGE:
                return _described(answer, 0)
            require_readable(answer)
            return _described(answer, _total(answer))

    async def read(
        self,
        url: str,
        offset: int,
        validator: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        trusted: bool = False,
    ) -> AsyncGenerator[bytes]:
        """The bytes from `offset` on; Conflict when `validator` is no longer that of what is there."""
        asked = dict(headers)
        if offset:
            asked["range"] = f"bytes={offset}-"
        if offset and validator:
            asked["if-range"] = validator
        async with self._opened(url, asked, headers, trusted) as answer:
            pieces = read_from(answer, offset, validator)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await pieces.aclose()

    async def fetch(
        self, url: str, limit: int, headers: Mapping[str, str] = NO_HEADERS, *, trusted: bool = False
    ) -> bytes:
        """All of a small thing."""
        async with self._opened(url, headers, headers, trusted) as answer:
            require_readable(answer)
            return await answer.body(limit)

    @asynccontextmanager
    async def _opened(
        self, url: str, asked: Mapping[str, str], secret: Mapping[str, str], trusted: bool
    ) -> AsyncGenerator[Answer]:
        """The answer at the end of the redirects; `secret` are those of the headers that only the first host gets."""
        first = _parsed(url)
        parts, sent = first, dict(asked)
        for _ in range(_MAX_REDIRECTS + 1):
            same = parts.netloc == first.netloc and parts.scheme == first.scheme
            client = await self._client(parts, trusted=trusted and same)
            answer = client.get(_target(parts), sent)
            try:
                await answer.open()
                location = answer.header("location") if answer.status in _REDIRECTS else None
                if location is None:
                    yield answer
                    return
            finally:
                await answer.close()
                await client.close()
            parts = _followed(parts, location)
            if parts.netloc != first.netloc or parts.scheme != first.scheme:
                sent = {name: value for name, value in asked.items() if name not in secret}
        raise Unavailable(f"the server redirects more than {_MAX_REDIRECTS} times")

    async def _client(self, parts: SplitResult, *, trusted: bool) -> HttpClient:
        host = (parts.hostname or "").lower()
        known = trusted or host in self._allowed
        if parts.scheme != "https" and not known:
            raise Denied(f"{host} would be asked without TLS; use https://, or allow it in the settings")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await public_address(host, port, (host,) if known else ())
        origin = f"{parts.scheme}://{parts.netloc}"
        return HttpClient(origin, {}, _CONNECT_SECONDS, 1, address=address)


async def read_from(answer: Answer, offset: int, validator: str) -> AsyncGenerator[bytes]:
    """The bytes of an opened answer from `offset` of the file on, wherever the server begins to send it.

    Conflict when what it sends has another ETag than `validator`, unless that is empty.
    """
    if answer.status == _BAD_RANGE:
        return
    require_readable(answer)
    known = answer.header("etag")
    if validator and known is not None and known != validator:
        raise Conflict(CHANGED)
    skip = offset - _start(answer)
    if skip < 0:
        raise Unavailable("the server sent another part of the file than it was asked for")
    while (piece := await answer.chunk()) is not None:
        kept = piece[skip:] if skip else piece
        skip = max(0, skip - len(piece))
        if kept:
            yield kept


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(check_url(url))
    except ValueError as error:
        raise Invalid(f"source: {error}", param="source") from error
    if "@" in parts.netloc:
        raise Invalid("source: leave credentials out of the address", param="source")
    return parts


def _followed(parts: SplitResult, location: str) -> SplitResult:
    try:
        found = _parsed(urljoin(parts.geturl(), location))
    except PolyforgeError as error:
        raise Unavailable("the server redirects to something that is no address") from error
    if parts.scheme == "https" and found.scheme != "https":
        raise Denied("the server redirects from https to http, where nobody could tell what arrives")
    return found


def _target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_PATH_CHARACTERS)
    return f"{path}?{parts.query}" if parts.query else path


def require_readable(answer: Answer) -> None:
    """Nothing for an answer that holds what was asked for; raises what any other means."""
    status = answer.status
    if status in (_OK, _PARTIAL):
        return
    if status in _ABSENT:
        raise NotFound("there is nothing at this address", param="source")
    if status in _DENIED:
        raise Denied(f"the source refuses to give it to us, with {status}")
    if status == _FAILED_CONDITION:
        raise Conflict(CHANGED)
    if status in _PASSING or status >= _SERVER_ERRORS:
        raise Unavailable(f"the source answered {status}", retry_after=read_retry_after(answer.header))
    raise Invalid(f"the source answered {status}", param="source")


def _described(answer: Answer, size: int | None) -> RemoteFile:
    tag = answer.header("etag") or ""
    strong = tag if tag.startswith('"') else ""
    return RemoteFile(size, strong, answer.header("last-modified") or "")


def _total(answer: Answer) -> int | None:
    """The size of the whole file."""
    if answer.status == _PARTIAL:
        return _number((answer.header("content-range") or "").rpartition("/")[2])
    return _number(answer.header("content-length") or "")


def _start(answer: Answer) -> int:
    """The first byte of what is sent; a server that knows no ranges sends all of it."""
    if answer.status != _PARTIAL:
        return 0
    sent = (answer.header("content-range") or "").removeprefix("bytes ").partition("-")[0]
    start = _number(sent)
    if start is None:
        raise Unavailable("the server does not say which part of the file it sends")
    return start


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
