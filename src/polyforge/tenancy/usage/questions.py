"""What sums can be asked for: grouped by what, and of which calls."""

from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

import msgspec

from polyforge.kernel.errors import Invalid

Unit = Literal["month", "day", "hour"]
GroupBy = Literal[
    "month",
    "day",
    "hour",
    "project",
    "key",
    "user",
    "end_user",
    "model",
    "provider",
    "deployment",
    "task",
    "tag",
]
GROUPS: Final[tuple[GroupBy, ...]] = get_args(GroupBy)
"""In the order that rows are sorted by."""
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
_TAG_PREFIX: Final = "tag:"


class Question(msgspec.Struct, frozen=True):
    """Sums of which calls, by what."""

    groups: tuple[GroupBy, ...] = ()
    """In the order of GROUPS; at most one of them is a unit of time."""
    filters: Mapping[GroupBy, tuple[str, ...]] = {}
    """Only calls with one of these values, for each group that is named."""
    tag: str | None = None
    """With the group `tag`: of calls with a tag `tag=value`, by the value, instead of by every tag that they have."""

    @property
    def unit(self) -> Unit | None:
        """The unit of time among the groups."""
        return next((unit for unit in UNITS if unit in self.groups), None)


def parse_groups(text: str) -> Question:
    """The groups in a comma-separated list; Invalid names one that does not exist."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    tags = [name.removeprefix(_TAG_PREFIX) for name in names if name.startswith(_TAG_PREFIX)]
    names = ["tag" if name.startswith(_TAG_PREFIX) else name for name in names]
    if unknown := [name for name in names if name not in GROUPS]:
        raise Invalid(f"cannot group by {unknown[0][:40]!r}; possible: {', '.join(GROUPS)}", param="group_by")
    if len({name for name in names if name in UNITS}) > 1:
        raise Invalid("cannot group by two units of time", param="group_by")
    groups = tuple[GroupBy, ...](group for group in GROUPS if group in names)
    return Question(groups=groups, tag=tags[0] if tags else None)


def filtered(question: Question, **given: list[str] | None) -> Question:
    """The same question, of calls that have one of the given values in each group that is named."""
    filters = {cast(GroupBy, name): tuple(values) for name, values in given.items() if values}
    return msgspec.structs.replace(question, filters=filters)
