"""One call to an address that somebody wrote down: looked up once, allowed or refused, and then called there."""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from polyforge.egress.addresses import check_url
from polyforge.egress.guarding import Guard
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import Invalid, SettingsError, TimedOut, TooLarge

_CONNECT_SECONDS: Final = 10.0
_AGENT: Final = {"user-agent": "polyforge"}


class Fetched(msgspec.Struct, frozen=True):
    """An answer: its status, its headers by lower-case name, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def fetch(
    guard: Guard,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    timeout_seconds: float,
    max_bytes: int,
) -> Fetched:
    """The answer, whatever its status; redirects are not followed.

    Invalid for what is no address, Denied for one that is not allowed, TooLarge for a longer body, TimedOut, and
    Unavailable or UpstreamFailed where there is no answer.
    """
    origin, host, port, path = _parts(url)
    try:
        async with asyncio.timeout(timeout_seconds):
            address = await guard.address(host, port)
            client = HttpClient(origin, {}, _CONNECT_SECONDS, 1, address=address, resends=False)
            call = client.call(method, path, {**_AGENT, **headers}, body)
            try:
                await call.open()
                content = b"" if method == "HEAD" else await _content(call, host, max_bytes)
                return Fetched(call.status, call.headers(), content)
            finally:
                await call.close()
                await client.close()
    except TimeoutError as error:
        raise TimedOut(f"{host} did not answer within {timeout_seconds:g} seconds") from error
    except SettingsError as error:
        raise Invalid(error.message) from error


def _parts(url: str) -> tuple[str, str, int, str]:
    """The origin of an address, its host and port, and what is asked for there."""
    try:
        parts = urlsplit(check_url(url))
    except ValueError as error:
        raise Invalid(f"the address {error}", param="url") from error
    if "@" in parts.netloc or not parts.hostname:
        raise Invalid("a name or password does not belong into an address; use a header with a secret", param="url")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"{parts.scheme}://{parts.netloc}", parts.hostname, port, path


async def _content(call: Answer, host: str, most: int) -> bytes:
    pieces, room = list[bytes](), most
    while (piece := await call.chunk()) is not None:
        room -= len(piece)
        if room < 0:
            raise TooLarge(f"{host} answers with more than {most} bytes; ask it for less, or allow more")
        pieces.append(piece)
    return b"".join(pieces)
