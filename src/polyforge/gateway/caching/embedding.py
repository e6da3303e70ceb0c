"""The vector of a question, by an embedding model of ours."""

import asyncio
from typing import Final

from polyforge.gateway.asking import Asking, asker_of
from polyforge.gateway.job import Job
from polyforge.kernel.errors import PolyforgeError
from polyforge.ports.likeness import Vector
from polyforge.telemetry.logs import get_logger

EMBED_SECONDS: Final = 2.0
"""How long a request waits for the vector of its question."""
_FLOAT_BYTES: Final = 4
_log = get_logger(__name__)


class Embedding:
    """Has texts embedded on the account of whoever asks."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def embed(self, job: Job, model: str, text: str) -> Vector | None:
        """The vector of a text; None where it cannot be had in a short time, for whatever reason."""
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                result = await self._asking.embed(asker_of(job), model, [text])
        except (PolyforgeError, TimeoutError) as error:
            _log.warning("a question could not be embedded", model=model, reason=str(error) or "it took too long")
            return None
        return bytes(memoryview(result.data).cast("B")[: result.dimensions * _FLOAT_BYTES])
