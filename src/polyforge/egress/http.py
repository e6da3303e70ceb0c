"""HTTP toward upstreams that the settings declare, with limits on time and size.

Redirects are not followed (a declared endpoint is trusted, what it points to is not), proxies of the environment are not
used, and nothing is retried here: the only retry loop of the house is the gateway's.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectError,
    ConnectTimeoutError,
    PoolTimeoutError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.request import StreamRequest

from polyforge.kernel.errors import TimedOut, Unavailable, UpstreamFailed

_IDLE_SECONDS: Final = 55
_ERROR_BYTES: Final = 256 * 1024


class Answer:
    """The head of an upstream's answer, and the way to its body. `close` it, or its connection is lost to the pool."""

    __slots__ = ("_entered", "_reader", "_request", "_response", "status")

    def __init__(self, request: StreamRequest) -> None:
        self._request = request
        self._entered = False
        self.status = 0

    async def open(self) -> None:
        """Send the request and wait for the head; Unavailable when there is no connection to be had."""
        try:
            self._response = response = await self._request.__aenter__()
        except (ConnectError, ConnectTimeoutError) as error:
            raise Unavailable("the upstream cannot be reached") from error
        except PoolTimeoutError as error:
            raise Unavailable("every connection to the upstream is in use", retry_after=1.0) from error
        except PyreqwestError as error:
            raise UpstreamFailed("the upstream closed the connection before it answered") from error
        self._entered = True
        self.status = response.status
        self._reader = response.body_reader

    async def close(self) -> None:
        """Give the connection back, or hang up when the body was not read to its end."""
        if self._entered:
            await self._request.__aexit__(None, None, None)

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return self._response.get_header(name)

    async def chunk(self) -> bytes | None:
        """The next piece of the body, None at its end; UpstreamFailed when it breaks off."""
        try:
            chunk = await self._reader.read_chunk()
        except RequestTimeoutError as error:
            raise TimedOut("the upstream took too long") from error
        except PyreqwestError as error:
            raise UpstreamFailed("the upstream's answer broke off") from error
        return None if chunk is None else bytes(chunk)

    async def body(self, limit: int) -> bytes:
        """The whole body; UpstreamFailed when it is larger than `limit` bytes or breaks off."""
        first = await self.chunk()
        if first is None:
            return b""
        second = await self.chunk()
        if second is None:
            return first
        size = len(first) + len(second)
        chunks = [first, second]
        while size <= limit and (chunk := await self.chunk()) is not None:
            chunks.append(chunk)
            size += len(chunk)
        if size > limit:
            raise UpstreamFailed(f"the upstream's answer is larger than {limit} bytes")
        return b"".join(chunks)

    async def error_body(self) -> bytes:
        """The body of an error, empty when it is too large or breaks off."""
        try:
            return await self.body(_ERROR_BYTES)
        except (UpstreamFailed, TimedOut):
            return b""


class HttpClient:
    """Pooled connections to one upstream. Cancelling a call closes the connection it runs on."""

    def __init__(self, base_url: str, headers: Mapping[str, str], connect_timeout: float, max_connections: int) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = dict(headers)
        self._connect_timeout = timedelta(seconds=connect_timeout)
        self._max_connections = max_connections
        self._client: Client | None = None

    async def open(self) -> None:
        """Make the connection pool; the first call connects."""
        self._client = (
            ClientBuilder()
            .default_headers(self._headers)
            .connect_timeout(self._connect_timeout)
            .pool_timeout(self._connect_timeout)
            .pool_idle_timeout(timedelta(seconds=_IDLE_SECONDS))
            .max_connections(self._max_connections)
            .follow_redirects(False)
            .no_proxy()
            .user_agent("polyforge")
            .build()
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A call that sends `body`; `open` it."""
        request = self._opened.post(self._base_url + path).body_bytes(body)
        return Answer((request.headers(headers) if headers else request).build_streamed())

    def get(self, path: str) -> Answer:
        """A call without a body; `open` it."""
        return Answer(self._opened.get(self._base_url + path).build_streamed())

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise Unavailable("the provider is closed")
        return self._client
