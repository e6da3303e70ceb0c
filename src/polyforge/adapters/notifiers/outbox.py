"""Writes messages as files into a folder: for trying things out, and where no mail server is at hand."""

import asyncio
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.ids import new_ulid
from polyforge.ports.notifier import Notice
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.files import create_private

FOLDER = "outbox"
_SUFFIX = ".eml"
_READABLE = default.clone(max_line_length=900)
"""Links stay whole, as RFC 5322 allows, so that they can be copied."""


class Settings(BaseModel):
    """Messages as `.eml` files in the folder `outbox` of the data folder, readable by their owner only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: int = Field(default=1000, ge=1, le=100_000, description="Most files that are kept; the oldest go first.")


class OutboxNotifier:
    """Writes one file per message."""

    mails: ClassVar[bool] = False

    def __init__(self, settings: Settings, data: Path) -> None:
        self._keep = settings.keep
        self._folder = data / FOLDER

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to get ready: the folder is made with the first message."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def send(self, notice: Notice) -> None:
        """Write the message; UpstreamFailed when the disk does not take it."""
        message = EmailMessage(_READABLE)
        message["To"] = notice.to
        message["Subject"] = notice.subject
        message.set_content(notice.text)
        try:
            await asyncio.to_thread(self._write, message.as_bytes().decode())
        except OSError as error:
            raise UpstreamFailed(f"cannot write into the outbox: {error.strerror}") from error

    def _write(self, text: str) -> None:
        create_private(self._folder / f"{new_ulid()}{_SUFFIX}", text)
        # The names rise with time.
        for old in sorted(self._folder.glob(f"*{_SUFFIX}"))[: -self._keep]:
            old.unlink(missing_ok=True)


ADAPTER = OutboxNotifier
