"""Prices that an operator keeps in a file: what was agreed with a seller, or what no public catalogue lists."""

from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.errors import SettingsError
from polyforge.kernel.prices import PriceList
from polyforge.ports.price_catalog import PriceCatalog

_MOST_BYTES: Final = 16 * 1024 * 1024
_decoder = msgspec.json.Decoder(dict[str, dict[str, PriceList]])


class Settings(BaseModel):
    """Where the file is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(
        description='JSON: `{"seller": {"model": {"input": 0.15, "output": 0.6}}}`, in USD per million tokens.'
    )


class FilePrices(PriceCatalog):
    """A table of prices by seller and model; a seller may be the address of an API."""

    def __init__(self, settings: Settings) -> None:
        content = _read(settings.path)
        try:
            self._prices = _decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SettingsError(f"prices.path: {settings.path} is no list of prices: {error}") from error
        self._edition = f"{settings.path.name} {sha256(content).hexdigest()[:8]}"

    @property
    def edition(self) -> str:
        """The name of the file and what tells its content from others."""
        return self._edition

    def find(self, seller: str, model: str, at: float) -> PriceList | None:
        """What the file says."""
        del at
        return self._prices.get(seller, {}).get(model)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SettingsError(f"prices.path: {path} has more than {_MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"prices.path: cannot read {path}: {error.strerror}") from error


ADAPTER = FilePrices
