"""A SIEM or log collector that takes lines of JSON over HTTPS: Splunk's raw endpoint, Vector, Fluent Bit, Logstash."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.egress.addresses import check_url
from polyforge.ports.audit_sink import SEND_SECONDS
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.receivers import Receiver

_TYPE: Final = "application/x-ndjson"
_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""What is said beside the status is not read, and hardly ever longer."""


class Settings(BaseModel):
    """An endpoint and how it is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Where lines of JSON are posted to; `http://` is for what runs on the same machine.")
    token: SecretRef | None = Field(default=None, description="Sent as `Authorization: Bearer`.")
    headers: dict[str, SecretRef] = Field(default_factory=dict, description="Sent with every batch.")
    ca: Path | None = Field(
        default=None, description="PEM file of the authorities that may vouch for it; default: the usual ones."
    )
    timeout_seconds: float = Field(default=10.0, gt=0, lt=SEND_SECONDS, description="For one batch altogether.")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        if "@" in urlsplit(check_url(url)).netloc:
            raise ValueError("must be an http or https URL, without a user in it")
        return url


class HttpsSink:
    """Posts batches, each an `application/x-ndjson` body."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._receiver = Receiver(
            settings.url, _TYPE, settings.timeout_seconds, self._references().values(), _ANSWER_BYTES, settings.ca
        )

    async def open(self, secrets: SecretSource) -> None:
        """Look whether the secrets are there; those of the database may come later. SettingsError without one."""
        await self._receiver.open(secrets)

    async def close(self) -> None:
        """Hang up."""
        await self._receiver.close()

    async def send(self, lines: Sequence[bytes]) -> None:
        """Post them; any 2xx accepts them."""
        answer = await self._receiver.post("", b"".join(line + b"\n" for line in lines), self._credentials())
        answer.require_taken()

    def _references(self) -> dict[str, SecretRef]:
        token = self._settings.token
        return self._settings.headers | ({} if token is None else {"authorization": token})

    def _credentials(self) -> dict[str, str]:
        found = {name: self._receiver.reveal(reference) for name, reference in self._references().items()}
        if self._settings.token is not None:
            found["authorization"] = f"Bearer {found['authorization']}"
        return found


ADAPTER = HttpsSink
