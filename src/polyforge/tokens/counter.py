"""Counts tokens with the tokenizer of a model, in threads; where there is none at hand, estimates."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Final

from polyforge.kernel.chat import ChatRequest
from polyforge.kernel.errors import Invalid, TooLarge
from polyforge.tokens.count import Count, Range, exactly
from polyforge.tokens.encodings import Encoding, Encodings
from polyforge.tokens.estimates import estimate
from polyforge.tokens.families import Family, family_of
from polyforge.tokens.prompts import Measure, measure_chat

MAX_CHARACTERS: Final = 4 * 1024 * 1024
"""What is counted at most; about a second's work."""
_AT_ONCE: Final = 2


class TokenCounter:
    """What texts and prompts come to. `files`: the tokenizer.json of models, by name or pattern."""

    def __init__(self, encodings: Encodings, files: Mapping[str, Path]) -> None:
        self._encodings = encodings
        self._files = dict(files)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def count_texts(self, texts: Iterable[str], model: str) -> Count:
        """Tokens of texts, without anything around them; TooLarge, or Unavailable for a tokenizer.json that is bad."""
        checked = _checked(list(texts))
        _, name, load = self._find(model)
        async with self._turns:
            counted = await asyncio.to_thread(_sum_texts, checked, load)
        return counted.counted_by(name)

    async def count_chat(self, chat: ChatRequest, model: str) -> Count:
        """Tokens of a prompt with what the provider adds; Unavailable for a tokenizer.json that is bad."""
        family, name, load = self._find(model)
        async with self._turns:
            counted = await asyncio.to_thread(_measure_chat, chat, load, family)
        return counted.counted_by(name)

    async def encode(self, text: str, model: str) -> list[int]:
        """The ids of a text's tokens; Invalid for a model whose tokenizer is not at hand."""
        (checked,) = _checked([text])
        _, _, load = self._find(model)
        if load is None:
            raise Invalid(f"no tokenizer of {model!r} is at hand, so its token ids are unknown", param="with_tokens")
        async with self._turns:
            return await asyncio.to_thread(_encode, checked, load)

    def _find(self, model: str) -> tuple[Family | None, str, Callable[[], Encoding] | None]:
        for pattern, path in self._files.items():
            if fnmatchcase(model, pattern):
                return None, "file", partial(self._encodings.of_file, path)
        family = family_of(model)
        if family is None or not self._encodings.has_openais:
            return family, "estimate", None
        return family, family.encoding, partial(self._encodings.named, family.encoding)


def _sum_texts(texts: list[str], load: Callable[[], Encoding] | None) -> Range:
    measure = _measure_with(load)
    return sum((measure(text) for text in texts), exactly(0))


def _measure_chat(chat: ChatRequest, load: Callable[[], Encoding] | None, family: Family | None) -> Range:
    return measure_chat(chat, _measure_with(load), family)


def _encode(text: str, load: Callable[[], Encoding]) -> list[int]:
    return load().encode(text)


def _measure_with(load: Callable[[], Encoding] | None) -> Measure:
    if load is None:
        return estimate
    encoding = load()
    return lambda text: exactly(encoding.count(text)) if len(text) <= MAX_CHARACTERS else estimate(text)


def _checked(texts: list[str]) -> list[str]:
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise TooLarge(f"at most {MAX_CHARACTERS} characters are counted at once")
    return texts
