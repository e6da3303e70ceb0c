"""Models of an MLflow registry, through its server: `mlflow:name/3`, `mlflow:name@champion`.

Source: https://mlflow.org/docs/latest/api_reference/rest-api.html and the server's proxy of artifacts. No library of
MLflow is needed; models that its own Python code would have to load are refused like any other pickle.
"""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Final, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.egress.addresses import HttpBase
from polyforge.kernel.errors import Invalid, NotFound, TimedOut, UpstreamFailed
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.downloads import Downloads

_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
_REFERENCE: Final = re.compile(
    r"mlflow:(?://|models:/)?(?P<name>[^/@:]+)(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[^/@:]+))"
)
_ANSWER_BYTES: Final = 8 * 1024 * 1024
_MAX_FOLDERS: Final = 1_000
_T = TypeVar("_T")


class Settings(BaseModel):
    """The server, and who one is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracking_uri: HttpBase = Field(
        description="The server; everybody who may add models can then add those of its registry."
    )
    token: SecretRef | None = Field(default=None, description="Sent as a bearer token.")
    username: str | None = Field(default=None, description="For basic authentication.")
    password: SecretRef | None = Field(default=None, description="Of this user.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long one question to the server may take.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        if self.token is not None and self.password is not None:
            raise ValueError("has either a token or a password")
        return self


class _Version(msgspec.Struct):
    version: str
    creation_timestamp: int = 0


class _Aliased(msgspec.Struct):
    model_version: _Version


class _Location(msgspec.Struct):
    artifact_uri: str = ""


class _Entry(msgspec.Struct):
    path: str
    is_dir: bool = False
    file_size: int | str | None = None


class _Entries(msgspec.Struct):
    files: list[_Entry] = []


class MlflowSource:
    """Lists the files of one version, which the server itself gives out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = settings.tracking_uri.rstrip("/")
        self._downloads = Downloads((urlsplit(settings.tracking_uri).hostname or "",))
        self._secrets = FollowedSecrets(settings.token, settings.password)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the secrets of the database that it uses."""
        self._secrets.open(secrets)

    async def close(self) -> None:
        """Stop following them."""
        self._secrets.close()

    async def listing(self, reference: SourceReference) -> SourceListing:
        """The files of the version that is named, or that the alias points at now."""
        name, version, alias = _parsed(reference.url)
        if alias is not None:
            found = await self._ask("registered-models/alias", {"name": name, "alias": alias}, _Aliased)
        else:
            found = await self._ask("model-versions/get", {"name": name, "version": version or ""}, _Aliased)
        number = found.model_version.version
        place = await self._ask("model-versions/get-download-uri", {"name": name, "version": number}, _Location)
        root = _root_of(place.artifact_uri)
        files = await self._walk(root)
        if not files:
            raise NotFound(f"version {number} of {name} has no files", param="source")
        content = "\n".join(f"{file.path} {file.size}" for file in files)
        made = f"{name} {number} {found.model_version.creation_timestamp}\n{content}"
        return SourceListing(tuple(files), sha256(made.encode()).hexdigest(), f"mlflow:{name}/{number}")

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """The file's bytes, through the server."""
        url = f"{self._base}{_ARTIFACTS}/{quote(file.locator)}"
        pieces = self._downloads.read(url, offset, headers=self._credentials())
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    async def _walk(self, root: str) -> list[SourceFile]:
        files: list[SourceFile] = []
        waiting = [""]
        for _ in range(_MAX_FOLDERS):
            if not waiting:
                return sorted(files, key=lambda file: file.path)
            folder = waiting.pop()
            url = f"{self._base}{_ARTIFACTS}?{urlencode({'path': _joined(root, folder)})}"
            for entry in _decode(await self._get(url), _Entries).files:
                # The server names what is in a folder, and not where the folder is.
                path = _joined(folder, entry.path.rstrip("/").rpartition("/")[2])
                if entry.is_dir:
                    waiting.append(path)
                else:
                    size = None if entry.file_size is None else int(entry.file_size)
                    files.append(SourceFile(path, size, locator=_joined(root, path)))
        raise Invalid(f"source: the model has more than {_MAX_FOLDERS} folders", param="source")

    async def _ask(self, question: str, query: dict[str, str], kind: type[_T]) -> _T:
        return _decode(await self._get(f"{self._base}{_API}/{question}?{urlencode(query)}"), kind)

    async def _get(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._downloads.fetch(url, _ANSWER_BYTES, self._credentials())
        except TimeoutError as error:
            raise TimedOut("the MLflow server did not answer in time") from error

    def _credentials(self) -> dict[str, str]:
        settings = self._settings
        if settings.token is not None:
            return {"authorization": f"Bearer {self._secrets.reveal(settings.token)}"}
        if settings.username is not None and settings.password is not None:
            pair = f"{settings.username}:{self._secrets.reveal(settings.password)}"
            return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}


def _parsed(url: str) -> tuple[str, str | None, str | None]:
    """Name, and version or alias."""
    found = _REFERENCE.fullmatch(url)
    if found is None:
        raise Invalid(f"source: {url[:200]} should look like mlflow:name/3 or mlflow:name@alias", param="source")
    return found["name"], found["version"], found["alias"]


def _root_of(uri: str) -> str:
    """The path that the server's proxy knows an artifact by; Invalid where it lies elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme != "mlflow-artifacts":
        raise Invalid(
            f"source: the server does not give out this model; it lies at {uri[:200]}, so add it from there",
            param="source",
        )
    return parts.path.strip("/")


def _joined(folder: str, name: str) -> str:
    return "/".join(part for part in (folder, name) if part)


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed(f"the MLflow server answered with something else: {error}") from error


ADAPTER = MlflowSource
