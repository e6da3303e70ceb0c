"""A syslog server: RFC 5424 messages over TLS (RFC 5425), TCP (octet counting, RFC 6587 3.4.1) or UDP (RFC 5426).

Syslog has no acknowledgement. Over TCP a batch counts as accepted when the server's machine has acknowledged its bytes
and has not hung up; over UDP when nothing was heard against it.
"""

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.errors import Invalid, SettingsError, Unavailable
from polyforge.ports.audit_sink import SEND_SECONDS
from polyforge.ports.secret_source import SecretSource

_PRIORITY: Final = 13 * 8 + 5
"""Facility 13, log audit; severity 5, notice."""
_NIL: Final = "-"
_DATAGRAM_BYTES: Final = 65_507
"""The most that UDP over IPv4 carries."""
_LOOK_SECONDS: Final = 0.01
_HEARSAY_SECONDS: Final = 0.05
"""How long a refusal of a datagram by the next machine may take."""
_ID_LENGTH: Final = 32


class Settings(BaseModel):
    """A server and how it is spoken to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, max_length=253, description="Name or address of the server.")
    port: int = Field(default=6514, ge=1, le=65535, description="Its port; usual are 6514 for TLS, 514 for the others.")
    transport: Literal["tls", "tcp", "udp"] = Field(
        default="tls", description="UDP loses what the network loses; TCP and UDP are read by who listens."
    )
    ca: Path | None = Field(
        default=None, description="PEM file of the authorities that may vouch for the server; default: the system's."
    )
    hostname: str | None = Field(
        default=None, min_length=1, max_length=255, pattern="^[!-~]+$", description="What this machine calls itself."
    )
    timeout_seconds: float = Field(default=10.0, gt=0, lt=SEND_SECONDS, description="For one batch altogether.")


class _Facts(msgspec.Struct):
    """What the header of a message repeats of an event."""

    time: str = _NIL
    action: str = _NIL


class SyslogSink:
    """Sends each event as a message whose text is its JSON."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hostname = settings.hostname or _NIL
        self._tls: ssl.SSLContext | None = None
        self._stream: _Stream | None = None
        self._datagrams: _Datagrams | None = None

    async def open(self, secrets: SecretSource) -> None:
        """Read the certificates; SettingsError when they cannot be read."""
        settings = self._settings
        self._hostname = settings.hostname or _printable(socket.gethostname())
        if settings.transport != "tls":
            return
        try:
            self._tls = ssl.create_default_context(cafile=settings.ca)
        except OSError as error:
            raise SettingsError(f"ca: cannot use {settings.ca}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Hang up."""
        for connection in (self._stream, self._datagrams):
            if connection is not None:
                connection.close()
        self._stream = self._datagrams = None

    async def send(self, lines: Sequence[bytes]) -> None:
        """Send them; the connection is made at the first, and again after every failure."""
        messages = [self._message(line) for line in lines]
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                if self._settings.transport == "udp":
                    await self._send_datagrams(messages)
                else:
                    await self._send_stream(messages)
        except TimeoutError as error:
            await self.close()
            raise Unavailable("the syslog server does not take events in time") from error
        except OSError as error:
            await self.close()
            raise Unavailable(f"the syslog server cannot be reached: {_problem(error)}") from error
        except asyncio.CancelledError:
            await self.close()
            raise

    def _message(self, line: bytes) -> bytes:
        """RFC 5424 section 6: header, no structured data, the line, which is UTF-8 and has no control characters."""
        facts = msgspec.json.decode(line, type=_Facts)
        kind = _printable(facts.action)[:_ID_LENGTH]
        time = _printable(facts.time)
        return f"<{_PRIORITY}>1 {time} {self._hostname} polyforge {_NIL} {kind} {_NIL} ".encode() + line

    async def _send_stream(self, messages: Sequence[bytes]) -> None:
        if self._stream is None or self._stream.ended:
            await self.close()
            self._stream = await _Stream.connect(self._settings.host, self._settings.port, self._tls)
        await self._stream.send(b"".join(b"%d %b" % (len(message), message) for message in messages))

    async def _send_datagrams(self, messages: Sequence[bytes]) -> None:
        if any(len(message) > _DATAGRAM_BYTES for message in messages):
            raise Invalid(f"it does not fit into a datagram of {_DATAGRAM_BYTES} bytes")
        if self._datagrams is None:
            loop = asyncio.get_running_loop()
            address = (self._settings.host, self._settings.port)
            _, self._datagrams = await loop.create_datagram_endpoint(_Datagrams, remote_addr=address)
        await self._datagrams.send(messages)


class _Stream:
    """One connection over TCP or TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, port: int, tls: ssl.SSLContext | None) -> "_Stream":
        """A new one; OSError when there is none to be had."""
        return cls(*await asyncio.open_connection(host, port, ssl=tls))

    @property
    def ended(self) -> bool:
        """Whether the server hung up."""
        return self._reader.at_eof() or self._writer.is_closing()

    def close(self) -> None:
        """Hang up at once."""
        self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send all of it, and wait until the server's machine has it; OSError when the server hangs up before."""
        self._writer.write(data)
        await self._writer.drain()
        while self._writer.transport.get_write_buffer_size() or self._unacknowledged():
            self._require()
            await asyncio.sleep(_LOOK_SECONDS)
        self._require()

    def _require(self) -> None:
        if self.ended:
            raise ConnectionResetError("it closed the connection")

    def _unacknowledged(self) -> int:
        """Bytes that the other machine has not acknowledged (SIOCOUTQ of Linux's tcp(7)); 0 where nobody can say."""
        connection = cast(socket.socket | None, self._writer.get_extra_info("socket"))
        if connection is None or self._writer.is_closing():
            return 0
        try:
            answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return struct.unpack("i", answer)[0]


class _Datagrams(asyncio.DatagramProtocol):
    """A socket for datagrams to one address, and what the network says of them."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._error: OSError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        """The network said no, to whichever datagram."""
        self._error = exc if isinstance(exc, OSError) else OSError(str(exc))

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send each; OSError when the network says no."""
        assert self._transport is not None
        self._error = None
        for message in messages:
            self._transport.sendto(message)
            if self._error is not None:
                break
            await asyncio.sleep(0)
        await asyncio.sleep(_HEARSAY_SECONDS)
        if self._error is not None:
            raise self._error


def _printable(text: str) -> str:
    """Printable ASCII without spaces, as headers are; `-` when nothing is left."""
    return "".join(character for character in text if "!" <= character <= "~") or _NIL


def _problem(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    return error.strerror or str(error) or type(error).__name__


ADAPTER = SyslogSink
