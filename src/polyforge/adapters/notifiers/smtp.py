"""Sends messages as e-mail over SMTP (RFC 5321), with TLS unless the server is on this machine."""

import asyncio
import ipaddress
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.kernel.errors import UpstreamFailed
from polyforge.ports.notifier import Notice
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef

_AT_ONCE: Final = 2


class Settings(BaseModel):
    """Messages as e-mail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, description="The mail server.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port: 587 with STARTTLS, 465 with TLS.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is protected; `none` only on this machine."
    )
    ca: Path | None = Field(default=None, description="PEM file of the authority to trust; default: the system's.")
    username: str | None = Field(default=None, description="Account to send with.")
    password: SecretRef | None = Field(default=None, description="Its password.")
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", description="The address that messages come from.")
    timeout_seconds: float = Field(default=10.0, gt=0, le=120, description="For each step of the conversation.")
    total_seconds: float = Field(default=60.0, gt=0, le=600, description="For a whole message.")

    @model_validator(mode="after")
    def _protects_what_it_sends(self) -> "Settings":
        if self.security == "none" and not _is_here(self.host):
            raise ValueError("security: none is for a server on this machine only")
        if (self.username is None) != (self.password is None):
            raise ValueError("give username and password, or neither")
        return self


class SmtpNotifier:
    """Sends one e-mail per message, each over a connection of its own."""

    mails: ClassVar[bool] = True

    def __init__(self, settings: Settings, data: Path) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._secrets = FollowedSecrets(settings.password)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the password, where it is one of `secrets`; each message has a connection of its own."""
        self._secrets.open(secrets)

    async def close(self) -> None:
        """Follow the password no more."""
        self._secrets.close()

    async def send(self, notice: Notice) -> None:
        """Hand the message to the server; UpstreamFailed when it does not take it."""
        message, line = self._message(notice), _Line()
        async with self._slots:
            try:
                async with asyncio.timeout(self._settings.total_seconds):
                    await asyncio.to_thread(self._deliver, message, line)
            except (OSError, smtplib.SMTPException) as error:
                # What the server says may repeat the message, so only the kind of the error is told.
                raise UpstreamFailed(f"the mail server did not take the message: {type(error).__name__}") from error
            finally:
                line.cut()

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._settings.sender
        message["To"] = notice.to
        message["Subject"] = notice.subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._settings.sender.rpartition("@")[2])
        # RFC 3834: nobody's holiday notice need answer this.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(notice.text)
        return message

    def _deliver(self, message: EmailMessage, line: "_Line") -> None:
        settings = self._settings
        with _Conversation(settings, self._tls, line) as server:
            if settings.security == "starttls":
                server.starttls(context=self._tls())
            if settings.username is not None and settings.password is not None:
                server.login(settings.username, self._secrets.reveal(settings.password))
            server.send_message(message)

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._settings.ca) if self._settings.ca else None)


class _Line:
    """The connection of a thread as the event loop holds it: to be cut, since a thread cannot be cancelled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cut = False
        self._held: socket.socket | None = None

    def hold(self, connection: socket.socket) -> None:
        """Cut this connection when the time comes, or now if it has come."""
        with self._lock:
            # A handle of its own: TLS takes the connection over, and closes it.
            self._held = connection.dup()
            if self._is_cut:
                self._shut()

    def cut(self) -> None:
        """Nothing comes or goes over the connection any more, if there is or will be one."""
        with self._lock:
            self._is_cut = True
            self._shut()

    def _shut(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with held, suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)


class _Conversation(smtplib.SMTP):
    """With the server, over a connection that `line` can cut."""

    def __init__(self, settings: Settings, tls: Callable[[], ssl.SSLContext], line: _Line) -> None:
        self._open = partial(_connect, settings, tls, line)
        super().__init__(settings.host, settings.port, timeout=settings.timeout_seconds)

    def connect(self, host: str = "localhost", port: int = 0, source_address: object = None) -> tuple[int, bytes]:
        """Connect, and read the server's greeting."""
        self.sock = self._open()
        self.file = None
        return self.getreply()


def _connect(settings: Settings, tls: Callable[[], ssl.SSLContext], line: _Line) -> socket.socket:
    connection = socket.create_connection((settings.host, settings.port), settings.timeout_seconds)
    line.hold(connection)
    if settings.security != "tls":
        return connection
    return tls().wrap_socket(connection, server_hostname=settings.host)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


ADAPTER = SmtpNotifier
