"""Sends messages as e-mail over SMTP (RFC 5321), with TLS unless the server is on this machine."""

import asyncio
import ipaddress
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.kernel.errors import UpstreamFailed
from polyforge.ports.notifier import Notice
from polyforge.ports.secret_source import SecretSource, Stop
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

    @model_validator(mode="after")
    def _protects_what_it_sends(self) -> "Settings":
        if self.security == "none" and not _is_here(self.host):
            raise ValueError("security: none is for a server on this machine only")
        if (self.username is None) != (self.password is None):
            raise ValueError("give username and password, or neither")
        return self


class SmtpNotifier:
    """Sends one e-mail per message, each over a connection of its own."""

    def __init__(self, settings: Settings, data: Path) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._secrets: SecretSource | None = None
        self._unwatch: Stop | None = None

    async def open(self, secrets: SecretSource) -> None:
        """Follow the password, where it is one of `secrets`; each message has a connection of its own."""
        self._secrets = secrets
        password = self._settings.password
        if password is not None and password.name is not None:
            self._unwatch = secrets.watch(password.name, _ignore)

    async def close(self) -> None:
        """Follow the password no more."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    async def send(self, notice: Notice) -> None:
        """Hand the message to the server; UpstreamFailed when it does not take it."""
        message = self._message(notice)
        async with self._slots:
            try:
                await asyncio.to_thread(self._deliver, message)
            except (OSError, smtplib.SMTPException) as error:
                # What the server says may repeat the message, so only the kind of the error is told.
                raise UpstreamFailed(f"the mail server did not take the message: {type(error).__name__}") from error

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

    def _deliver(self, message: EmailMessage) -> None:
        settings = self._settings
        with self._connect() as server:
            if settings.security == "starttls":
                server.starttls(context=self._tls())
            if settings.username is not None and settings.password is not None:
                server.login(settings.username, settings.password.reveal(self._secrets))
            server.send_message(message)

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.security == "tls":
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_seconds, context=self._tls())
        return smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._settings.ca) if self._settings.ca else None)


def _ignore() -> None:
    """The password is asked for with each message, so a change needs nothing more."""


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


ADAPTER = SmtpNotifier
