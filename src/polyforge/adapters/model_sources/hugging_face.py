"""Repositories of Hugging Face's hub, or of a mirror that speaks as it does: `hf://org/name@revision`.

The library is asked what there is and where; the bytes come through our own client, which pins addresses and goes on
where it stopped. Without the hub, what other tools left in the library's cache is used.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from fnmatch import fnmatchcase
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

# Read when the library is imported: it shall not tell anybody who uses it.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from huggingface_hub import (
    HfApi,
    hf_hub_url,
    snapshot_download,  # pyright: ignore[reportUnknownVariableType]  # its types are partial
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.egress.addresses import HttpBase
from polyforge.kernel.errors import Denied, Invalid, NotFound, PolyforgeError, Unavailable
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.downloads import Downloads

_SCHEME: Final = "hf://"
_CHUNK: Final = 1024 * 1024
_LOCAL: Final = "local:"
_NOT_SERVED: Final = (
    ".*",
    "*/.*",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.pkl",
    "*.pickle",
    "*.joblib",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*pytorch_model*.bin",
    "*training_args.bin",
    "*optimizer.bin",
    "*scheduler.bin",
)
"""Files of other frameworks, most of which run code when they are read."""

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]+$", max_length=253)]


class Settings(BaseModel):
    """The hub, and who one is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: HttpBase = Field(default="https://huggingface.co", description="The hub, or a mirror of it.")
    token: SecretRef | None = Field(
        default=None, description="For private and gated models, which everybody can then add who may add models."
    )
    offline: bool = Field(default=False, description="Ask nobody: only what lies in `cache`.")
    cache: Path | None = Field(
        default=None, description="The folder where the library keeps what it fetched; default: its own."
    )
    allowed_hosts: tuple[Host, ...] = Field(
        default=(), description="Hosts that the hub sends one to, and that may be in private networks or without TLS."
    )
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long the hub may take to say what it has.")


class HuggingFaceSource:
    """Lists a repository at one commit, without what nobody here could serve."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        host = urlsplit(settings.endpoint).hostname or ""
        self._downloads = Downloads((host, *settings.allowed_hosts))
        self._secrets = FollowedSecrets(settings.token)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the token, where it is a secret of the database."""
        self._secrets.open(secrets)

    async def close(self) -> None:
        """Stop following it."""
        self._secrets.close()

    async def listing(self, reference: SourceReference) -> SourceListing:
        """The files at the commit that the revision means now; from the cache when the hub is not to be had."""
        repository, revision = _parsed(reference.url)
        if self._settings.offline:
            return await asyncio.to_thread(self._cached, repository, revision)
        try:
            return await asyncio.to_thread(self._asked, repository, revision)
        except Unavailable as error:
            # Of this machine's user, who may have fetched what others shall not have.
            if not reference.trusted:
                raise
            try:
                return await asyncio.to_thread(self._cached, repository, revision)
            except NotFound:
                raise error from None

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """The file's bytes, as they are at the commit that was listed."""
        if file.locator.startswith(_LOCAL):
            pieces = _read_local(Path(file.locator.removeprefix(_LOCAL)), offset)
        else:
            pieces = self._downloads.read(file.locator, offset, headers=self._credentials())
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    def _asked(self, repository: str, revision: str) -> SourceListing:
        settings = self._settings
        api = HfApi(endpoint=settings.endpoint, token=self._token() or False, library_name="polyforge")
        try:
            found = api.model_info(repository, revision=revision, timeout=settings.timeout_seconds, files_metadata=True)
        except Exception as error:  # the errors of its HTTP client come through too
            raise _meaning(error, repository, revision) from error
        commit = found.sha or ""
        siblings = [each for each in found.siblings or [] if _is_served(each.rfilename)]
        if found.siblings and not siblings:
            raise Invalid(f"{repository} holds only files that nobody here can serve, or that run code when read")
        files = tuple(self._described(repository, commit, each) for each in siblings)
        return SourceListing(files, commit, f"{_SCHEME}{repository}@{commit}", vouched=True)

    def _described(self, repository: str, commit: str, file: RepoSibling) -> SourceFile:
        large = file.lfs
        url = hf_hub_url(repository, file.rfilename, revision=commit, endpoint=self._settings.endpoint)
        sha256 = None if large is None else large.sha256
        return SourceFile(file.rfilename, file.size if large is None else large.size, sha256, url)

    def _cached(self, repository: str, revision: str) -> SourceListing:
        try:
            found = snapshot_download(
                repository, revision=revision, cache_dir=self._settings.cache, local_files_only=True
            )
        except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
            raise NotFound(f"{repository}@{revision} is not in the cache of this machine", param="source") from error
        folder = Path(found)
        inside = folder.parent.parent.resolve()
        names = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if not each.is_dir())
        files = tuple(_local(folder, name, inside) for name in names if _is_served(name))
        return SourceListing(files, folder.name, f"{_SCHEME}{repository}@{folder.name}")

    def _token(self) -> str | None:
        token = self._settings.token
        return None if token is None else self._secrets.reveal(token)

    def _credentials(self) -> dict[str, str]:
        token = self._token()
        return {} if token is None else {"authorization": f"Bearer {token}"}


def _parsed(url: str) -> tuple[str, str]:
    rest = url.removeprefix(_SCHEME)
    repository, _, revision = rest.partition("@")
    parts = repository.split("/")
    if not url.startswith(_SCHEME) or len(parts) > 2 or not all(parts) or "?" in rest or "#" in rest:  # noqa: PLR2004
        raise Invalid(f"source: {url[:200]} should look like hf://org/name@revision", param="source")
    return repository, revision or "main"


def _is_served(name: str) -> bool:
    return not any(fnmatchcase(name.lower(), pattern) for pattern in _NOT_SERVED)


def _meaning(error: Exception, repository: str, revision: str) -> PolyforgeError:
    if isinstance(error, GatedRepoError):
        return Denied(f"{repository} is gated; accept its terms on the hub, and set a token")
    if isinstance(error, RepositoryNotFoundError):
        return NotFound(f"the hub has no model {repository}, or shows it to others only", param="source")
    if isinstance(error, RevisionNotFoundError):
        return NotFound(f"{repository} has no revision {revision[:100]}", param="source")
    if isinstance(error, HFValidationError):
        return Invalid(f"source: {repository[:100]} is no name of a model on the hub", param="source")
    answer = error.response if isinstance(error, HfHubHTTPError) else None
    if answer is not None and answer.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(f"the hub has no {repository} at {revision[:100]}", param="source")
    if answer is not None and answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Denied(f"the hub shows {repository} to others only; set a token that may see it")
    return Unavailable("the hub did not say what it has")


def _local(folder: Path, name: str, inside: Path) -> SourceFile:
    """The cache holds links to the files themselves, which lie in the same repository's folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(inside) or not path.is_file():
        raise Invalid(f"{name}: leads out of the cache")
    return SourceFile(name, path.stat().st_size, locator=f"{_LOCAL}{path}")


async def _read_local(path: Path, offset: int) -> AsyncGenerator[bytes]:
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := await asyncio.to_thread(os.pread, descriptor, _CHUNK, offset):
            offset += len(piece)
            yield piece
    finally:
        os.close(descriptor)


ADAPTER = HuggingFaceSource
