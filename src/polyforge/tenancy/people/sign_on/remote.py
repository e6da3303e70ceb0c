"""What an identity provider's servers answer: asked with limits on time and size, at the addresses that it declares."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import TimedOut, UpstreamFailed

PATIENCE_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 256 * 1024
_OK: Final = 200
_ADDRESS: Final = re.compile(r"https?://[\x21-\x7e]{1,2000}")
_CONNECTIONS: Final = 8
_ORIGINS: Final = 8
"""A provider has one or two hosts; more would be a sign that its description changes all the time."""


class Remote:
    """The hosts of one identity provider. With `secure` nothing but https is spoken."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._clients: dict[str, HttpClient] = {}

    async def close(self) -> None:
        """Hang up."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def get(self, url: str, bearer: str | None = None) -> bytes:
        """The body at an address; UpstreamFailed when it is not answered with 200, TimedOut when it takes too long."""
        parts = self.check(url)
        headers = {"accept": "application/json"}
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        status, body = await self._ask((await self._client(parts)).get(_target(parts), headers))
        if status != _OK:
            raise UpstreamFailed(f"the identity provider answered {status} at {parts.path[:100]}")
        return body

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The status and body of the answer to a form."""
        parts = self.check(url)
        usual = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
        client = await self._client(parts)
        return await self._ask(client.post(_target(parts), urlencode(form).encode(), {**usual, **headers}))

    def check(self, url: str) -> SplitResult:
        """The parts of an address that the provider declares; UpstreamFailed when it is none that may be used."""
        try:
            parts = urlsplit(url)
            usable = _ADDRESS.fullmatch(url) is not None and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable, parts = False, urlsplit("")
        if not usable or (self._secure and parts.scheme != "https"):
            raise UpstreamFailed("the identity provider declares an address that is none, or not a safe one")
        return parts

    async def _client(self, parts: SplitResult) -> HttpClient:
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        client = self._clients.get(origin)
        if client is None:
            if len(self._clients) >= _ORIGINS:
                await self.close()
            client = self._clients[origin] = HttpClient(origin, {}, CONNECT_SECONDS, _CONNECTIONS)
        return client

    async def _ask(self, answer: Answer) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await answer.open()
                return answer.status, await answer.body(MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise TimedOut("the identity provider did not answer in time") from error
        finally:
            await answer.close()


def _target(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path
