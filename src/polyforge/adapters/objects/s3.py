"""Objects in a bucket of S3, or of what speaks its API, such as MinIO, Ceph and R2.

Its keys are found in the settings, or else by the rules of AWS: the environment, a web identity, the container's or the
machine's role.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from obstore.store import S3Store
from pydantic import Field, model_validator

from polyforge.adapters.objects.remote.store import RemoteObjects, RemoteSettings
from polyforge.egress.addresses import HttpBase
from polyforge.secrets.references import SecretRef

_ASK_AGAIN: Final = timedelta(minutes=1)
"""How soon a key that was changed is used."""


class Settings(RemoteSettings):
    """A bucket of S3, and with whose credentials it is used."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Name of the bucket.")
    region: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$|^auto$",
        description="Such as `eu-central-1`; default: the environment's AWS_REGION or AWS_DEFAULT_REGION.",
    )
    endpoint: HttpBase | None = Field(
        default=None, description="Another address of the API, such as MinIO's; the bucket stands in the path then."
    )
    access_key_id: SecretRef | None = Field(
        default=None, description="Default: as AWS has it, from the environment or the role of the machine."
    )
    secret_access_key: SecretRef | None = Field(default=None, description="Of this access key.")
    session_token: SecretRef | None = Field(default=None, description="Of credentials that are lent for some hours.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to an access_key_id and its secret_access_key")
        return self


class S3Objects(RemoteObjects):
    """A client of S3."""

    def __init__(self, settings: Settings, data: Path) -> None:
        del data
        super().__init__(settings, settings.access_key_id, settings.secret_access_key, settings.session_token)
        self._settings = settings

    def connect(self) -> S3Store:
        """A client; credentials of the settings are asked for anew every minute."""
        settings = self._settings
        config: Any = {"virtual_hosted_style_request": settings.endpoint is None}
        if settings.region is not None:
            config["region"] = settings.region
        options: Any = settings.client_options()
        if settings.endpoint is not None:
            config["endpoint"] = settings.endpoint.rstrip("/")
            options["allow_http"] = settings.endpoint.startswith("http://")
        retry: Any = settings.retry_config()
        provider = self._credentials if settings.access_key_id is not None else None
        return S3Store(
            settings.bucket,
            prefix=settings.prefix,
            config=config,
            client_options=options,
            retry_config=retry,
            credential_provider=provider,
        )

    def _credentials(self) -> Any:
        settings = self._settings
        if settings.access_key_id is None or settings.secret_access_key is None:
            raise RuntimeError("there are no credentials in the settings")
        token = settings.session_token
        return {
            "access_key_id": self.secrets.reveal(settings.access_key_id),
            "secret_access_key": self.secrets.reveal(settings.secret_access_key),
            "token": None if token is None else self.secrets.reveal(token),
            "expires_at": datetime.now(UTC) + _ASK_AGAIN,
        }


ADAPTER = S3Objects
