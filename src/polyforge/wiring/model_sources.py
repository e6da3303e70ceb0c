"""What fetches models, by what their addresses begin with.

An adapter is loaded when it is first asked: most never are, and some bring large libraries.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from polyforge.kernel.errors import NotConfigured, SettingsError, Unavailable
from polyforge.ports.model_source import ModelSource, SourceFile, SourceListing, SourceReference
from polyforge.ports.secret_source import SecretSource
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen, Settings

_PORT: Final = "model_sources"
SCHEMES: Final = {
    "file": Chosen(use="file"),
    "https": Chosen(use="https"),
    "hf": Chosen(use="hugging_face"),
    "s3": Chosen(use="object_storage"),
}
"""The adapter of each kind of address, where the settings name no other."""
SAME: Final = {"http": "https"}
"""Kinds of addresses that the adapter of another one reads."""


class LateSource:
    """A source whose adapter is loaded, built and opened at the first question; NotConfigured when it cannot be."""

    def __init__(self, path: str, chosen: Chosen) -> None:
        self._path = path
        self._chosen = chosen
        self._secrets: SecretSource | None = None
        self._lock = asyncio.Lock()
        self._source: ModelSource | None = None

    async def open(self, secrets: SecretSource) -> None:
        """Keep what the adapter will need."""
        self._secrets = secrets

    async def close(self) -> None:
        """Close the adapter, if it was ever needed."""
        source, self._source = self._source, None
        if source is not None:
            await source.close()

    async def listing(self, reference: SourceReference) -> SourceListing:
        """As the adapter has it."""
        return await (await self._loaded()).listing(reference)

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """As the adapter has it."""
        pieces = (await self._loaded()).read(reference, listing, file, offset)
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    async def _loaded(self) -> ModelSource:
        async with self._lock:
            if self._source is None:
                self._source = await self._load()
            return self._source

    async def _load(self) -> ModelSource:
        if self._secrets is None:
            raise Unavailable("sources of models are not open yet")
        try:
            adapter, settings = await asyncio.to_thread(adapters.find, _PORT, self._path, self._chosen)
            source: ModelSource = adapter(settings)
            await source.open(self._secrets)
        except SettingsError as error:
            raise NotConfigured(error.message) from error
        return source


def sources_of(settings: Settings) -> dict[str, ModelSource]:
    """A source of each kind; SettingsError when what is declared for one cannot be used."""
    declared = settings.model_sources
    for scheme, chosen in declared.items():
        _check(scheme, chosen)
    built: dict[str, ModelSource] = {
        scheme: LateSource(f"{_PORT}.{scheme}", chosen) for scheme, chosen in (SCHEMES | declared).items()
    }
    return built | {scheme: built[same] for scheme, same in SAME.items()}


def _check(scheme: str, chosen: Chosen) -> None:
    path = f"{_PORT}.{scheme}"
    if not (scheme.isascii() and scheme.isalnum() and scheme == scheme.lower()):
        raise SettingsError(f"{path}: no address begins like this")
    if scheme in SAME:
        raise SettingsError(f"{path}: declare {SAME[scheme]} instead, which reads these addresses too")
    adapters.find(_PORT, path, chosen)
