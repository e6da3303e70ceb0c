"""Objects in a container of Azure Blob Storage."""

from pathlib import Path
from typing import Any

from obstore.store import AzureStore
from pydantic import Field

from polyforge.adapters.objects.remote.store import RemoteObjects, RemoteSettings
from polyforge.egress.addresses import HttpBase
from polyforge.secrets.references import SecretRef


class Settings(RemoteSettings):
    """A container of Azure Blob Storage, and with which key it is used."""

    account: str = Field(pattern=r"^[a-z0-9]{3,24}$", description="Name of the storage account.")
    container: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", description="Name of the container.")
    account_key: SecretRef | None = Field(
        default=None,
        description="Of the storage account; default: as Azure has it, from the environment or the machine's identity.",
    )
    endpoint: HttpBase | None = Field(
        default=None, description="Another address of the service, such as an emulator's."
    )


class AzureObjects(RemoteObjects):
    """A client of Azure Blob Storage."""

    def __init__(self, settings: Settings, data: Path) -> None:
        del data
        super().__init__(settings, settings.account_key)
        self._settings = settings

    def connect(self) -> AzureStore:
        """A client."""
        settings = self._settings
        options: Any = settings.client_options()
        retry: Any = settings.retry_config()
        config: Any = {"account_name": settings.account}
        if settings.account_key is not None:
            config["account_key"] = self.secrets.reveal(settings.account_key)
        if settings.endpoint is not None:
            config["endpoint"] = settings.endpoint
            options["allow_http"] = settings.endpoint.startswith("http://")
        return AzureStore(
            settings.container, prefix=settings.prefix, config=config, client_options=options, retry_config=retry
        )


ADAPTER = AzureObjects
