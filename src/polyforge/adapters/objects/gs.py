"""Objects in a bucket of Google Cloud Storage."""

from pathlib import Path
from typing import Any

from obstore.store import GCSStore
from pydantic import Field

from polyforge.adapters.objects.remote.store import RemoteObjects, RemoteSettings
from polyforge.secrets.references import SecretRef


class Settings(RemoteSettings):
    """A bucket of Google Cloud Storage, and as whom it is used."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", description="Name of the bucket.")
    service_account_key: SecretRef | None = Field(
        default=None,
        description="The key of a service account, as JSON; default: as Google has it, from the environment's"
        " GOOGLE_APPLICATION_CREDENTIALS or the machine.",
    )


class GoogleObjects(RemoteObjects):
    """A client of Google Cloud Storage."""

    def __init__(self, settings: Settings, data: Path) -> None:
        del data
        super().__init__(settings, settings.service_account_key)
        self._settings = settings

    def connect(self) -> GCSStore:
        """A client."""
        settings = self._settings
        options: Any = settings.client_options()
        retry: Any = settings.retry_config()
        config: Any = {}
        if settings.service_account_key is not None:
            config["service_account_key"] = self.secrets.reveal(settings.service_account_key)
        return GCSStore(
            settings.bucket, prefix=settings.prefix, config=config, client_options=options, retry_config=retry
        )


ADAPTER = GoogleObjects
