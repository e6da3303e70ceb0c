"""Serves the console: its files, and its one page at every path that nothing else owns."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from polyforge.kernel.errors import MethodNotAllowed, NotFound
from polyforge.server.console.building import POLICY, STATE_FILE, page_without_console, read_state
from polyforge.server.console.encodings import choose_encoding
from polyforge.server.console.files import INDEX, File, Variant, read_table
from polyforge.server.http import HeaderMap, RawHeaders, Scope, Send, first_values, send_whole
from polyforge.telemetry.logs import get_logger

FOLDER: Final = Path(__file__).parent / "static"
_ASSETS: Final = "/assets/"
_OTHERS: Final = ("/api", "/v1", "/v2", "/services", "/mcp", "/metrics", "/livez", "/readyz", "/.well-known")
"""Programs call what is below these: they get an error that they can read, whatever they accept."""
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    b"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_POLICY_HEADER: Final = (b"content-security-policy", _POLICY)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_HTML: Final = b"text/html; charset=utf-8"
_FOREVER: Final = b"public, max-age=31536000, immutable"
_ASK_FIRST: Final = b"no-cache"
_LONGEST_PATH: Final = 200
_log = get_logger(__name__)


class Page(NamedTuple):
    """A whole answer; `body` is None where the caller has it already."""

    status: int
    headers: RawHeaders
    body: bytes | None


class Console:
    """The built console of a folder; a build that takes its place while this runs is noticed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._table: Mapping[str, File] = {}
        self._built: tuple[int, int] | None = None
        self._reading = asyncio.Lock()

    async def answer(self, scope: Scope) -> Page:
        """What a request gets; NotFound where there is neither a file nor a page."""
        path: str = scope["path"]
        headers = first_values(scope["headers"])
        wants_page = _wants_page(path, headers)
        if wants_page or not self._table:
            await self._look()
        file = self._table.get(path)
        if file is None and not wants_page:
            raise NotFound(f"there is nothing at {path[:_LONGEST_PATH]}")
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{path[:_LONGEST_PATH]} takes GET", allowed="GET, HEAD")
        file = file or self._table.get(INDEX)
        if file is None:
            return await self._without_console()
        return await _answer_with(file, headers, _FOREVER if path.startswith(_ASSETS) else _ASK_FIRST)

    async def has_page(self, scope: Scope) -> bool:
        """Whether it has a page for this request; never before it is built."""
        if not _wants_page(scope["path"], first_values(scope["headers"])):
            return False
        await self._look()
        return INDEX in self._table

    async def _look(self) -> None:
        """Read the folder when there is another build in it than the one that was read."""
        async with self._reading:
            built = await asyncio.to_thread(_mark_of, self._folder)
            if built is None or built == self._built:
                return
            try:
                self._table = await asyncio.to_thread(read_table, self._folder)
            except FileNotFoundError:
                _log.info("another build takes the console's place; the next request reads it")
            else:
                self._built = built

    async def _without_console(self) -> Page:
        state = await asyncio.to_thread(read_state, self._folder.with_name(STATE_FILE))
        headers = [(b"content-type", _HTML), (b"cache-control", b"no-store"), (b"retry-after", b"2"), *_HEADERS]
        return Page(503, [*headers, (b"content-security-policy", POLICY)], page_without_console(state))


async def send_page(send: Send, page: Page) -> None:
    """Send it; an answer without a body declares no length, which would be read as that of what the caller has."""
    if page.body is not None:
        await send_whole(send, page.status, page.headers, page.body)
        return
    await send({"type": "http.response.start", "status": page.status, "headers": page.headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer_with(file: File, headers: HeaderMap, caching: bytes) -> Page:
    encoding = choose_encoding(headers.get(b"accept-encoding"), file.variants)
    variant = file.variants[encoding]
    told = [(b"etag", variant.etag), (b"cache-control", caching), (b"vary", b"accept-encoding")]
    told += [_POLICY_HEADER, *_HEADERS]
    if _is_known(headers.get(b"if-none-match"), variant):
        return Page(304, told, None)
    told.append((b"content-type", file.type))
    if encoding != "identity":
        told.append((b"content-encoding", encoding.encode()))
    return Page(200, told, await _body_of(variant))


async def _body_of(variant: Variant) -> bytes:
    if variant.body is not None:
        return variant.body
    try:
        return await asyncio.to_thread(variant.place.read_bytes)
    except FileNotFoundError:
        raise NotFound("another build took this file's place; load the page again") from None


def _is_known(condition: bytes | None, variant: Variant) -> bool:
    """Whether the caller says that it has this; the comparison is the weak one, as RFC 9110 section 13.1.2 asks."""
    if condition is None:
        return False
    known = [tag.strip().removeprefix(b"W/") for tag in condition.split(b",")]
    return variant.etag in known or known == [b"*"]


def _wants_page(path: str, headers: HeaderMap) -> bool:
    """Whether a browser asks for one of the console's pages, whose paths the console alone knows."""
    if path == "/":
        return True
    owned = path.startswith(_ASSETS) or any(path == other or path.startswith(f"{other}/") for other in _OTHERS)
    return not owned and b"text/html" in headers.get(b"accept", b"").lower()


def _mark_of(folder: Path) -> tuple[int, int] | None:
    """What tells one build from another; None where there is none."""
    try:
        found = (folder / INDEX[1:]).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
