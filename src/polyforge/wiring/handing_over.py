"""The secrets that models of other servers need, handed to the model host, which has no database to read them from."""

import asyncio
from collections.abc import Collection
from typing import Final

from polyforge.egress.oip_client import OipClient
from polyforge.kernel.errors import NotConfigured, PolyforgeError, Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.handed import encode_handed
from polyforge.telemetry.logs import get_logger

_AGAIN_SECONDS: Final = 2.0
"""Between two times, for the host may have started anew and know nothing."""
_SECONDS: Final = 10.0

_log = get_logger(__name__)


class SecretHandover:
    """Tells the host, over the socket that only this user can open, at once when one of them changes."""

    def __init__(self, names: Collection[str], client: OipClient) -> None:
        self._names = sorted(names)
        self._client = client
        self._source: SecretSource | None = None
        self._stops: list[Stop] = []
        self._changed = asyncio.Event()

    def open(self, source: SecretSource) -> None:
        """Have them at hand."""
        self._source = source
        self._stops = [source.watch(name, self._changed.set) for name in self._names]

    async def close(self) -> None:
        """Watch them no more, and hang up."""
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        await self._client.close()

    async def run(self) -> None:
        """Until it is cancelled; returns at once when no model needs any."""
        told = True
        while self._names and self._source is not None:
            self._changed.clear()
            try:
                await self._client.hand_over(self._message(self._source), seconds=_SECONDS)
            except PolyforgeError as error:
                if told:
                    _log.warning("the model host was not given the secrets of its models", reason=error.message)
                told = False
            else:
                told = True
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_AGAIN_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    def _message(self, source: SecretSource) -> bytes:
        values: dict[str, Hidden] = {}
        problems: dict[str, str] = {}
        for name in self._names:
            try:
                values[name] = source.value(name)
            except NotConfigured as error:
                problems[name] = error.message
            except Unavailable:
                # Not read yet, or not to be opened, of which the log tells: the host says that it is not known.
                continue
        return encode_handed(values, problems)
