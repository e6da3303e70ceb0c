"""HTTP/1.1 toward upstreams that the settings declare or a guard watches, with limits on time, size and connections.

Redirects are not followed (a declared endpoint is trusted, what it points to is not), proxies of the environment are
not used, compression is not asked for, and nothing is retried here but a kept connection that turns out to be closed:
the only retry loop of the house is the gateway's. Cancelling a call closes its connection, in whatever it is waiting
for. Written on httptools because no client at hand did both that and the speed (docs/decisions/0006-http-client.md).
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import certifi
import httptools

from polyforge.egress.guarding import guard_of_clients
from polyforge.kernel.errors import SettingsError, Unavailable, UpstreamFailed

_IDLE_SECONDS: Final = 55.0
_ERROR_BYTES: Final = 256 * 1024
_HEAD_BYTES: Final = 256 * 1024
_BUFFERED_BYTES: Final = 256 * 1024
_JOIN_BYTES: Final = 64 * 1024
_KNOWN_PATHS: Final = 256
_TYPE: Final = "content-type"
_FIRST_FINAL: Final = 200
_METHOD: Final = re.compile("[A-Z]{1,20}")
_END_OF_HEAD: Final = b"\r\n\r\n"


class ConnectionBroken(UpstreamFailed):
    """The connection ended before the answer was whole; `unread` when nobody has read all of the request."""

    def __init__(self, message: str, *, unread: bool = False) -> None:
        super().__init__(message)
        self.unread = unread


class _Lost(Exception):
    """The connection ended before the answer was whole; `began` when some of it had been read.

    `unread` when nobody has read all of what was sent: then the system says so.
    """

    def __init__(self, began: bool, unread: bool) -> None:
        super().__init__("the connection was lost")
        self.began = began
        self.unread = unread


class _Connection(asyncio.Protocol):
    """One connection; carries one call at a time, by one task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self.pieces: list[bytes] = []
        self._buffered = 0
        self._received = b""
        self._informed = 0
        self._head = b""
        self._error: Exception | None = None
        self._keeps = False
        self._paused = False
        self.status = 0
        self.began = False
        self.complete = False
        self._limit = 0

    @property
    def usable(self) -> bool:
        """Whether another call may be made on it."""
        transport = self._transport
        return self.complete and self._keeps and transport is not None and not transport.is_closing()

    def send(self, head: bytes, body: bytes) -> None:
        """Begin a call."""
        if self._transport is None:
            raise _Lost(began=False, unread=True)
        self._reset()
        if len(body) < _JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def arrival(self) -> asyncio.Future[None]:
        """What to wait for until more has come; raises what went wrong instead."""
        if self._error is not None:
            raise self._error
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def expect_all(self, limit: int) -> None:
        """From now on the body is kept until it is whole; UpstreamFailed as soon as it is larger than `limit`."""
        self._limit = limit
        self._resume()

    def next_piece(self) -> asyncio.Future[None] | None:
        """What to wait for before `take`; None when there is something to take, or nothing any more."""
        return None if self.pieces or self.complete else self.arrival()

    def header(self, name: bytes) -> str | None:
        """The first value of a header, which is named in lower case.

        Heads are searched, not cut into pieces: of an answer's dozen headers nobody asks for more than two.
        """
        head = self._found_head()
        at = head.lower().find(b"\r\n%b:" % name)
        if at < 0:
            return None
        value = at + len(name) + 3
        return head[value : head.index(b"\r\n", value)].strip(b" \t").decode("latin-1")

    def _found_head(self) -> bytes:
        """What came before the body, in lines that all have their ends."""
        if not self._head:
            begin = 0
            for _ in range(self._informed):
                begin = self._received.index(_END_OF_HEAD, begin) + len(_END_OF_HEAD)
            self._head = self._received[begin : self._received.find(_END_OF_HEAD, begin) + 2]
            self._received = b""
        return self._head

    def headers(self) -> dict[str, str]:
        """Every header by its lower-case name; values of one that comes several times are joined by commas."""
        found: dict[str, str] = {}
        for line in self._found_head().decode("latin-1").split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            key = name.strip().lower()
            if colon and key:
                found[key] = f"{found[key]}, {value.strip()}" if key in found else value.strip()
        return found

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        pieces = self.pieces
        self.pieces = []
        self._buffered = 0
        self._resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None and not self.complete:
            self._error = error
        self._keeps = False
        self._wake()

    def close(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.complete:
            self.close()
            return
        self.began = True
        if self.status < _FIRST_FINAL:
            self._received = self._received + data if self._received else data
            if len(self._received) > _HEAD_BYTES and _END_OF_HEAD not in self._received[:_HEAD_BYTES]:
                self._fail(UpstreamFailed("the headers of the upstream's answer are too long"))
                self.close()
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(UpstreamFailed(f"the upstream's answer is not HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.status >= _FIRST_FINAL and exc is None and self._ends_with_connection():
            self.complete = True
        unread = not self.began and isinstance(exc, BrokenPipeError | ConnectionResetError)
        self._fail(_Lost(self.began, unread))

    def _ends_with_connection(self) -> bool:
        """Without a declared length the body lasts until the connection ends (RFC 9112 section 6.3)."""
        return self.header(b"content-length") is None and self.header(b"transfer-encoding") is None

    # httptools' callbacks

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._wake()

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        self._buffered += len(body)
        if self._limit:
            self._check_limit()
            return
        if self._buffered > _BUFFERED_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _check_limit(self) -> None:
        if self._buffered > self._limit:
            self._fail(UpstreamFailed(f"the upstream's answer is larger than {self._limit} bytes"))
            self.close()

    def on_message_complete(self) -> None:
        if self.status < _FIRST_FINAL:
            self._informed += 1
            return
        self._keeps = self._parser.should_keep_alive()
        self.complete = True
        self._wake()


class Answer:
    """One call and its answer. `close` it in any case: a connection that was read to its end is used again."""

    __slots__ = ("_body", "_client", "_connection", "_head", "_turn", "status")

    def __init__(self, client: "HttpClient", head: bytes, body: bytes) -> None:
        self._client = client
        self._head = head
        self._body = body
        self._connection: _Connection | None = None
        self._turn = False
        self.status = 0

    async def open(self) -> None:
        """Send the request and wait for the head; Unavailable when there is no connection to be had."""
        if not self._client.took_turn():
            await self._client.wait_for_turn()
        self._turn = True
        connection = self._client.kept()
        if connection is not None:
            try:
                await self._begin(connection)
                return
            except _Lost as lost:
                if lost.began or not (lost.unread or self._client.resends):
                    raise _broken(lost) from lost
        try:
            await self._begin(await self._client.connect())
        except _Lost as lost:
            raise _broken(lost) from lost

    async def _begin(self, connection: _Connection) -> None:
        self._connection = connection
        connection.send(self._head, self._body)
        while connection.status < _FIRST_FINAL:
            await connection.arrival()
        self.status = connection.status
        encoding = connection.header(b"content-encoding")
        if encoding is not None and encoding.lower() != "identity":
            raise UpstreamFailed(
                f"the upstream compressed its answer with {encoding[:50]} although it was not asked to"
            )

    async def close(self) -> None:
        """Give the connection back, or hang up when the answer was not read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.give_back(connection)
        if self._turn:
            self._turn = False
            self._client.pass_turn()

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return self._opened.header(name.encode())

    def headers(self) -> dict[str, str]:
        """Every header by its lower-case name."""
        return self._opened.headers()

    async def chunk(self) -> bytes | None:
        """What has come of the body, None at its end; UpstreamFailed when it breaks off."""
        connection = self._opened
        try:
            while (waiter := connection.next_piece()) is not None:
                await waiter
        except _Lost as lost:
            raise _broken(lost) from lost
        return connection.take() if connection.pieces else None

    async def body(self, limit: int) -> bytes:
        """The whole body; UpstreamFailed when it is larger than `limit` bytes or breaks off."""
        connection = self._opened
        connection.expect_all(limit)
        try:
            while not connection.complete:
                await connection.arrival()
        except _Lost as lost:
            raise _broken(lost) from lost
        body = connection.take()
        if len(body) > limit:
            raise UpstreamFailed(f"the upstream's answer is larger than {limit} bytes")
        return body

    async def error_body(self) -> bytes:
        """The body of an error, empty when it is too large or breaks off."""
        try:
            return await self.body(_ERROR_BYTES)
        except UpstreamFailed:
            return b""

    @property
    def _opened(self) -> _Connection:
        if self._connection is None:
            raise UpstreamFailed("the call was not opened")
        return self._connection


class HttpClient:
    """Kept connections to one upstream, at most `max_connections` in use at once.

    `base_url` is http:// or https://; with `unix_socket` the connections go there instead of to its host. Without a
    `connect_timeout` only the caller's patience ends the wait for a connection. `ca` is a PEM file of the authorities
    that may vouch for the upstream, instead of the usual ones; OSError when it cannot be used. What is made within
    `guarded` connects only to where the guard lets it, NotConfigured elsewhere. With `address` connections go to this
    IP address, whatever the host's name means by then. Without `resends` a call on a kept connection that ends is sent
    once more only where nobody has read it.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        connect_timeout: float | None,
        max_connections: int,
        unix_socket: str | None = None,
        ca: Path | None = None,
        address: str | None = None,
        resends: bool = True,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{base_url!r} is not an http:// or https:// address")
        self._host = parts.hostname
        self._address = address
        trusted = certifi.where() if ca is None else str(ca)
        self._tls = ssl.create_default_context(cafile=trusted) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        usual = {name: value for name, value in headers.items() if name != _TYPE}
        self._fields = _fields({"host": parts.netloc.rpartition("@")[2], "accept-encoding": "identity", **usual})
        self._type = _fields({_TYPE: headers[_TYPE]}) if _TYPE in headers else b""
        self._credentials = b""
        self._connect_timeout = connect_timeout
        self._guard = guard_of_clients()
        self._unix_socket = unix_socket
        self.resends = resends
        self._free = max_connections
        self._heads: dict[tuple[str, str], bytes] = {}
        self._kept: list[_Connection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def close(self) -> None:
        """Hang up on kept connections; calls under way finish."""
        while self._kept:
            self._kept.pop().close()

    def authorize(self, credentials: Mapping[str, str]) -> None:
        """Send these headers with each call from now on, instead of those that were given here before."""
        self._credentials = _fields(credentials)
        self._heads.clear()

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], credentials: Mapping[str, str] | None = None
    ) -> Answer:
        """A call that sends `body`, with other `credentials` than its usual ones if they are given; `open` it.

        A content-type in `headers` stands in for the usual one.
        """
        more = _fields(headers) if headers else b""
        if _TYPE not in headers:
            more += self._type
        head = self._head("POST", path) if credentials is None else self._begin("POST", path) + _fields(credentials)
        return Answer(self, b"%b%bcontent-length: %d\r\n\r\n" % (head, more, len(body)), body)

    def put(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A call that stores `body`; `open` it."""
        head = self._begin("PUT", path) + _fields(headers)
        return Answer(self, b"%bcontent-length: %d\r\n\r\n" % (head, len(body)), body)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A call without a body; `open` it."""
        more = _fields(headers) if headers else b""
        return Answer(self, b"%b%b\r\n" % (self._head("GET", path), more), b"")

    def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """A call with any method, which must be a token; `open` it. The answer to a HEAD has no body to be read."""
        if not _METHOD.fullmatch(method):
            raise SettingsError("a method has capital letters only")
        length = b"" if body is None else b"content-length: %d\r\n" % len(body)
        return Answer(self, self._begin(method, path) + _fields(headers) + length + b"\r\n", body or b"")

    def _head(self, method: str, path: str) -> bytes:
        head = self._heads.get((method, path))
        if head is None:
            head = self._begin(method, path) + self._credentials
            if len(self._heads) < _KNOWN_PATHS:
                self._heads[method, path] = head
        return head

    def _begin(self, method: str, path: str) -> bytes:
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n".encode("ascii") + self._fields

    # For Answer

    def took_turn(self) -> bool:
        """Take one of the connections that may be in use at once; False when none is free."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def wait_for_turn(self) -> None:
        """Wait for one; Unavailable when that takes too long."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await turn
        except TimeoutError as error:
            self._leave(turn)
            raise Unavailable("every connection to the upstream is in use", retry_after=1.0) from error
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.pass_turn()

    def pass_turn(self) -> None:
        """Let the next one have the connection's place."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def kept(self) -> _Connection | None:
        """A connection from an earlier call, the one used last first."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._kept:
            connection = self._kept.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection for the next call, or close it."""
        if connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._kept.append(connection)
        else:
            connection.close()

    async def connect(self) -> _Connection:
        """A new connection; Unavailable when none can be made in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                if self._unix_socket is not None:
                    _, connection = await loop.create_unix_connection(_Connection, self._unix_socket)
                else:
                    name, where = self._host if self._tls else None, self._address or self._host
                    if self._guard is not None:
                        where = await self._guard.pinned(where, self._port)
                    _, connection = await loop.create_connection(
                        _Connection, where, self._port, ssl=self._tls, server_hostname=name
                    )
        except TimeoutError as error:
            raise Unavailable("the upstream did not accept a connection in time") from error
        except OSError as error:
            raise Unavailable("the upstream cannot be reached") from error
        return connection


def _fields(headers: Mapping[str, str]) -> bytes:
    lines: list[bytes] = []
    for name, value in headers.items():
        if any(character in "\r\n\0" for character in name + value) or not name:
            raise SettingsError(f"the header {name!r} has characters that a header cannot have")
        lines.append(_line(name, value))
    return b"".join(lines)


def _line(name: str, value: str) -> bytes:
    try:
        return f"{name}: {value}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        # Without its cause, which holds the value.
        raise SettingsError(f"the header {name!r} has characters that a header cannot have") from None


def _broken(lost: _Lost) -> ConnectionBroken:
    where = "in the middle of its answer" if lost.began else "before it answered"
    return ConnectionBroken(f"the upstream closed the connection {where}", unread=lost.unread)
