"""One account at one service of AWS: where the service is, and how calls to it are signed."""

import asyncio
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.dialects import aws_errors
from polyforge.dialects.upstream_error import UpstreamError
from polyforge.egress.addresses import HttpBase
from polyforge.egress.http import Answer, HttpClient
from polyforge.egress.sigv4 import AwsCredentials, AwsService, payload_hash, sign
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.kernel.errors import NotConfigured, SettingsError
from polyforge.kernel.hidden import Hidden
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef, in_environment
from polyforge.upstreams.account import bearer
from polyforge.upstreams.calls import ReadError
from polyforge.upstreams.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_RESPONSE_BYTES,
    MaxConnections,
    MaxResponseBytes,
)

_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_DOMAINS: Final = {"cn-": "amazonaws.com.cn", "eusc-": "amazonaws.eu"}
_DOMAIN: Final = "amazonaws.com"
_JSON: Final = "application/json"
_LARGE_BODY: Final = 256 * 1024


class AwsSettings(BaseModel):
    """Where a service of AWS is, and with whose credentials it is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$",
        description="Such as `eu-central-1`; default: the environment's AWS_REGION or AWS_DEFAULT_REGION.",
    )
    endpoint: HttpBase | None = Field(
        default=None, description="Another address of the service, such as that of a VPC endpoint."
    )
    access_key_id: SecretRef | None = Field(
        default=None,
        description="Default: the environment's AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. Roles"
        " of instances and containers are not asked for.",
    )
    secret_access_key: SecretRef | None = Field(default=None, description="Of this access key.")
    session_token: SecretRef | None = Field(default=None, description="Of credentials that are lent for some hours.")
    max_connections: MaxConnections = DEFAULT_CONNECTIONS
    max_response_bytes: MaxResponseBytes = DEFAULT_RESPONSE_BYTES

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to an access_key_id and its secret_access_key")
        return self


class AwsAccount:
    """Calls one service with signed requests, or with an `api_key` where the service has such a thing.

    `service` is its signing name, `host` the first part of its address. What stands in the settings is read at once,
    SettingsError when it is missing or no good; a `secret:` is followed.
    """

    def __init__(
        self,
        settings: AwsSettings,
        *,
        service: str,
        host: str,
        connect_timeout: float,
        api_key: SecretRef | None = None,
        clock: Clock | None = None,
    ) -> None:
        region = settings.region or _region_of_environment()
        endpoint = settings.endpoint or f"https://{host}.{region}.{_domain(region)}"
        self._service = AwsService(region, service)
        self._http = HttpClient(endpoint, {"content-type": _JSON}, connect_timeout, settings.max_connections)
        parts = urlsplit(endpoint)
        self._host = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._clock = clock or SystemClock()
        self._refs = [api_key] if api_key is not None else _references(settings)
        self._has_api_key = api_key is not None
        self._secrets: SecretSource | None = None
        self._unwatch: list[Stop] = []
        self._credentials: AwsCredentials | Hidden | None = None
        if all(ref.name is None for ref in self._refs):
            self._read_credentials()

    def open(self, secrets: SecretSource) -> None:
        """Follow those of the credentials that are `secrets`."""
        self._secrets = secrets
        names = {ref.name for ref in self._refs if ref.name is not None}
        self._unwatch = [secrets.watch(name, self._forget) for name in sorted(names)]

    async def close(self) -> None:
        """Let go of connections."""
        for stop in self._unwatch:
            stop()
        await self._http.close()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], brought: Hidden | None = None) -> Answer:
        """A call to be opened; with the API key that the caller `brought` instead of ours, if there is one.

        NotConfigured while our credentials are missing or no good.
        """
        if brought is not None:
            return self._http.post(path, body, headers, bearer(brought.reveal()))
        credentials = self._credentials or self._read_credentials()
        if isinstance(credentials, Hidden):
            return self._http.post(path, body, headers, bearer(credentials.reveal()))
        signed = self._signed("POST", path, {"content-type": _JSON}, await _hash(body), credentials)
        return self._http.post(path, body, headers, signed)

    async def put(self, path: str, body: bytes, content_type: str) -> Answer:
        """A call to be opened that stores an object of S3. `path` holds only what S3 does not encode: -._~/ and
        letters and digits of ASCII.
        """
        credentials = self._credentials or self._read_credentials()
        if isinstance(credentials, Hidden):
            raise NotConfigured("S3 wants an access key")
        hashed = await _hash(body)
        headers = {"content-type": content_type, "x-amz-content-sha256": hashed}
        return self._http.put(path, body, headers | self._signed("PUT", path, headers, hashed, credentials))

    def get(self, target: str, headers: Mapping[str, str]) -> Answer:
        """A call to be opened that reads from S3. `target` is a path, and a query if there is one, encoded once."""
        credentials = self._credentials or self._read_credentials()
        if isinstance(credentials, Hidden):
            raise NotConfigured("S3 wants an access key")
        sent = {**headers, "x-amz-content-sha256": payload_hash(b"")}
        return self._http.get(target, sent | self._signed("GET", target, sent, payload_hash(b""), credentials))

    def _signed(
        self, method: str, path: str, headers: Mapping[str, str], hashed: str, credentials: AwsCredentials
    ) -> dict[str, str]:
        return sign(
            method,
            self._prefix + path,
            {"host": self._host, **headers},
            hashed,
            credentials=credentials,
            service=self._service,
            now=self._clock.now(),
        )

    def _forget(self) -> None:
        """Look for the credentials again before the next call."""
        self._credentials = None

    def _read_credentials(self) -> AwsCredentials | Hidden:
        read = [Hidden(self._reveal(ref)) for ref in self._refs]
        if self._has_api_key:
            self._credentials = read[0]
        else:
            self._credentials = AwsCredentials(read[0].reveal(), *read[1:])
        return self._credentials

    def _reveal(self, ref: SecretRef) -> str:
        text = ref.reveal(self._secrets)
        if text.isascii() and text.isprintable() and " " not in text:
            return text
        error = SettingsError if ref.name is None else NotConfigured
        raise error(f"{ref} holds characters that credentials of AWS do not have")


async def _hash(body: bytes) -> str:
    large = len(body) > _LARGE_BODY
    return await asyncio.to_thread(payload_hash, body) if large else payload_hash(body)


def reads_error(answer: Answer) -> ReadError:
    """What reads the error in an answer, whose header names it."""

    def read(body: bytes) -> UpstreamError:
        return aws_errors.decode_error(body, answer.header(aws_errors.TYPE_HEADER))

    return read


def _references(settings: AwsSettings) -> list[SecretRef]:
    """Key, secret and, where there is one, session token."""
    if settings.access_key_id is not None and settings.secret_access_key is not None:
        refs = [settings.access_key_id, settings.secret_access_key]
        return refs if settings.session_token is None else [*refs, settings.session_token]
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    names += ["AWS_SESSION_TOKEN"] if in_environment("AWS_SESSION_TOKEN") else []
    return [SecretRef(f"env:{name}") for name in names]


def _region_of_environment() -> str:
    region = next((found for name in _REGIONS if (found := in_environment(name))), None)
    if region is None:
        raise SettingsError("region: give the region of AWS, or set AWS_REGION")
    return region


def _domain(region: str) -> str:
    return next((domain for start, domain in _DOMAINS.items() if region.startswith(start)), _DOMAIN)
