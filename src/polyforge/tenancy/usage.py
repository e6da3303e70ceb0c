"""Sums over calls: what they can be grouped by and what a sum holds."""

from typing import Literal, get_args

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.kernel.money import Micros
from polyforge.kernel.usage import Usage

GroupBy = Literal["key", "model", "project", "day"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)


class UsageRow(msgspec.Struct, frozen=True, gc=False):
    """What a group of calls used, cost and was priced; the fields of the group are None where it is not grouped by."""

    key: str | None = None
    """The key's id."""
    model: str | None = None
    project: str | None = None
    """The project's id."""
    day: int | None = None
    """Days since the epoch, UTC."""
    requests: int = 0
    errors: int = 0
    """Calls that ended in an error, or with the gateway."""
    input_tokens: int = 0
    """Every token of the prompts, cached or not."""
    cached_tokens: int = 0
    """The part of the input that the provider read from its cache."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    """The part of the output that is thought."""
    images: int = 0
    milliseconds: int = 0
    characters: int = 0
    cost: Micros = 0
    price: Micros = 0


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
    key_names: dict[str, str]
    """Names by id of the keys among the groups."""


def parse_groups(text: str) -> frozenset[GroupBy]:
    """The groups in a comma-separated list; Invalid names one that does not exist."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in GROUPS]:
        raise Invalid(f"cannot group by {unknown[0][:40]!r}; possible: {', '.join(GROUPS)}", param="group_by")
    return frozenset[GroupBy](group for group in GROUPS if group in names)


def total(rows: list[UsageRow]) -> UsageRow:
    """All rows as one."""
    return UsageRow(
        requests=sum(row.requests for row in rows),
        errors=sum(row.errors for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens for row in rows),
        images=sum(row.images for row in rows),
        milliseconds=sum(row.milliseconds for row in rows),
        characters=sum(row.characters for row in rows),
        cost=sum(row.cost for row in rows),
        price=sum(row.price for row in rows),
    )
