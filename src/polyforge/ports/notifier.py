"""The port to whatever brings a message to somebody outside."""

from typing import ClassVar, Protocol

import msgspec

from polyforge.ports.secret_source import SecretSource


class Notice(msgspec.Struct, frozen=True):
    """One message to one person. It may hold the secret of a link: never log it."""

    to: str
    """The e-mail address."""
    subject: str
    text: str


class Notifier(Protocol):
    """Brings messages. Built from its settings and the data folder, `Adapter(settings, data)`; that does no I/O."""

    mails: ClassVar[bool]
    """Whether messages reach people by themselves; else somebody has to fetch them for them."""

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require anything else to be up. `secrets` is where `secret:name` is asked for."""
        ...

    async def close(self) -> None:
        """Let go of what `open` took."""
        ...

    async def send(self, notice: Notice) -> None:
        """Hand one message over, in bounded time; UpstreamFailed when that did not work."""
        ...
