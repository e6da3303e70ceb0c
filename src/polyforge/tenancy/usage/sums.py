"""Sums over calls."""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import astuple

from polyforge.kernel.money import Micros
from polyforge.kernel.usage import Usage


class Used(msgspec.Struct, frozen=True, gc=False):
    """What calls used, cost and were priced, measure by measure as the ledger keeps them."""

    requests: int = 0
    errors: int = 0
    """Calls that ended in an error, or with the gateway."""
    answered: int = 0
    """Calls with an answer, whole or begun."""
    cached: int = 0
    """Calls whose answer was kept from an earlier one."""
    duration_ms: int = 0
    input_tokens: int = 0
    """Those that the provider neither read from its cache nor wrote into it."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    images: int = 0
    milliseconds: int = 0
    characters: int = 0
    cost_micros: Micros = 0
    price_micros: Micros = 0
    saved_micros: Micros = 0
    """What calls would have cost whose answer was kept from an earlier one."""

    def __add__(self, other: "Used") -> "Used":
        """Both together."""
        return Used(*map(int.__add__, astuple(self), astuple(other)))

    @property
    def input_total(self) -> int:
        """Every token of the prompts, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def usage(self) -> Usage:
        """The same as of one call."""
        return Usage(
            input=self.input_tokens,
            cache_read=self.cache_read_tokens,
            cache_write=self.cache_write_tokens,
            output=self.output_tokens,
            reasoning=self.reasoning_tokens,
            audio_input=self.audio_input_tokens,
            audio_output=self.audio_output_tokens,
            image_input=self.image_input_tokens,
            images=self.images,
            milliseconds=self.milliseconds,
            characters=self.characters,
        )


NOTHING_USED: Final = Used()

Label = str | int
"""Of a group: text, or a month (since year 0), a day or an hour (both since the epoch), in UTC."""


class UsageRow(msgspec.Struct, frozen=True, gc=False):
    """What a group of calls used."""

    labels: tuple[Label, ...]
    """In the order of the question's groups."""
    used: Used


def total(rows: Iterable[UsageRow]) -> Used:
    """All rows as one."""
    return sum((row.used for row in rows), NOTHING_USED)


def by_tag(rows: Iterable[UsageRow], place: int, tag: str | None) -> list[UsageRow]:
    """Rows whose label at `place` is a list of tags as rows of one tag each: a call counts for every tag that it has.

    With `tag`, calls count once, for the value that they have of it; empty for those without it.
    """
    found: dict[tuple[Label, ...], Used] = {}
    for row in rows:
        for each in _tags_of(str(row.labels[place]), tag):
            labels = (*row.labels[:place], each, *row.labels[place + 1 :])
            found[labels] = found.get(labels, NOTHING_USED) + row.used
    return [UsageRow(labels, found[labels]) for labels in sorted(found)]


def _tags_of(text: str, tag: str | None) -> list[str]:
    tags = text.split(",")
    if tag is None:
        return tags
    return [next((each[len(tag) + 1 :] for each in tags if each.partition("=")[0] == tag), "")]


class Traffic(msgspec.Struct, frozen=True, gc=False):
    """What the calls of one deployment used and cost."""

    provider: str
    deployment: str
    """The provider's own name of the model."""
    calls: int
    usage: Usage
    cost: Micros


class UsageSummary(msgspec.Struct, frozen=True):
    """Sums by group over [since, until), in seconds since the epoch."""

    since: float
    until: float
    rows: list[UsageRow]
    """A page of them."""
    totals: Used
    """Of all of them; a call counts once, whatever tags it has."""
    key_names: dict[str, str]
    """Names by id of the keys among the groups."""
    project_names: dict[str, str]
    following: int | None
    """Where the next page begins; None after the last."""
