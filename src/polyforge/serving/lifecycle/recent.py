"""Which models were used last, in a file: after a crash those come back first."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.registry.state_files import read_state, write_state
from polyforge.serving.repository import HostedModel
from polyforge.telemetry.logs import get_logger

SAVE_SECONDS: Final = 2.0
MAX_NAMES: Final = 10_000
MAX_BYTES: Final = 4 * 1024 * 1024

_log = get_logger(__name__)


class _File(msgspec.Struct, frozen=True):
    models: tuple[tuple[str, str], ...] = ()


class RecentlyUsed:
    """The order of last use, read once at the start and written when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: tuple[tuple[str, str], ...] = ()

    def read(self) -> None:
        """Read the file; without a good one there is no order."""
        try:
            found = read_state(self._path, _File, MAX_BYTES)
        except Invalid as error:
            _log.warning("the order of last use is not known", reason=error.message)
            return
        self._saved = () if found is None else found.models

    def sorted(self, models: Iterable[HostedModel]) -> list[HostedModel]:
        """Models, the last used first; those that nobody used stand in their order behind them."""
        places = {used: place for place, used in enumerate(self._saved)}
        return sorted(models, key=lambda model: places.get((model.name, model.version), len(places)))

    def mark(self, models: Iterable[HostedModel]) -> None:
        """Let models have been used in the order of the file, before everything that will be."""
        for place, model in enumerate(self.sorted(models)):
            model.used = -1.0 - place

    async def keep(self, models: Callable[[], Iterable[HostedModel]]) -> None:
        """Until it is cancelled: write the order down whenever it has changed."""
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            order = order_of(models())
            if order != self._saved:
                await asyncio.to_thread(self.save, order)

    def save(self, order: tuple[tuple[str, str], ...]) -> None:
        """Replace the file; a full disk is logged and costs no more than the order."""
        try:
            write_state(self._path, _File(order))
        except OSError as error:
            _log.warning("the order of last use cannot be written", reason=error.strerror)
            return
        self._saved = order


def order_of(models: Iterable[HostedModel]) -> tuple[tuple[str, str], ...]:
    """Names and versions, the last used first."""
    ordered = sorted(models, key=lambda model: -model.used)
    return tuple((model.name, model.version) for model in ordered[:MAX_NAMES])
