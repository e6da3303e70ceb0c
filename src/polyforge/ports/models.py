"""The port to the models of this installation, for what judges texts by them."""

from collections.abc import Sequence
from typing import Protocol

from polyforge.kernel.tasks import EmbeddingResult, Moderation


class Models(Protocol):
    """Asks models in the name of whoever made a call, who pays for it. Every failure is a `PolyforgeError`."""

    async def embed(self, model: str, texts: Sequence[str]) -> EmbeddingResult:
        """A vector for each text; no text may be empty."""
        ...

    async def moderate(self, model: str, texts: Sequence[str]) -> list[Moderation]:
        """A judgement of each text."""
        ...
