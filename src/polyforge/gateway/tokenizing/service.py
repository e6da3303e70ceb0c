"""Counts what a caller would send to a model, with the tokenizer of what answers for it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.gateway.lineup import Lineups
from polyforge.kernel.errors import ModelNotFound
from polyforge.registry.catalog import Model
from polyforge.registry.settings import ModelSettings
from polyforge.tenancy.callers import Caller
from polyforge.tokens.count import Count
from polyforge.tokens.counter import TokenCounter
from polyforge.tokens.settings import TokenSettings

_FILE: Final = "tokenizer.json"


class TokenizingService:
    """A model with several deployments is counted as its first one counts."""

    def __init__(self, lineups: Lineups, counter: TokenCounter) -> None:
        self._lineups = lineups
        self._counter = counter

    async def count_texts(self, caller: Caller, model: str, texts: list[str]) -> Count:
        """Tokens of texts; ModelNotFound, TooLarge, or Unavailable."""
        return await self._counter.count_texts(texts, self._place(caller, model))

    async def count_chat(
        self, caller: Caller, model: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
    ) -> Count:
        """Tokens of a conversation; ModelNotFound, Unavailable, or Invalid, which names the field that is wrong."""
        place = self._place(caller, model)
        offered = {"tools": tools} if tools else {}
        chat = read_chat(json.dumps({"model": model, "messages": messages, **offered}).encode())
        return await self._counter.count_chat(chat, place)

    async def encode(self, caller: Caller, model: str, text: str) -> list[int]:
        """Ids of a text's tokens; ModelNotFound, TooLarge, Unavailable, or Invalid where nobody knows them."""
        return await self._counter.encode(text, self._place(caller, model))

    def _place(self, caller: Caller, name: str) -> str:
        """The provider's own name of a model."""
        model = self._find(caller, name)
        return model.deployments[0].model

    def _find(self, caller: Caller, name: str) -> Model:
        if not caller.may_use(name):
            raise ModelNotFound(f"there is no model {name!r}; GET /v1/models lists those you may use", param="model")
        return self._lineups.current.catalog.find(name, caller.project_id)


def tokenizer_files(settings: TokenSettings, models: Mapping[str, ModelSettings]) -> dict[str, Path]:
    """The tokenizer.json of each model that has one: as it is set, or in the folder of a local model."""
    folders = {name: Path(unquote(urlsplit(model.source).path)) for name, model in models.items() if model.source}
    return {**settings.files, **{name: folder / _FILE for name, folder in folders.items()}}
