"""What is kept about limits."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, Literal, get_args

import msgspec

from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.windows import rolling_seconds

SubjectKind = Literal["organization", "project", "group", "user", "key", "model", "provider", "end_user"]
SUBJECT_KINDS: Final[tuple[SubjectKind, ...]] = get_args(SubjectKind)
Measure = Literal["requests", "tokens", "money", "concurrency"]
ANY: Final = "*"
"""Every subject of the kind, each with a counter of its own."""
SubjectsOf = Callable[[Caller, str], tuple[str, ...]]
_NAME_BYTES: Final = 15
SLOT_MARK: Final = "L"
"""No name of a key's slot begins like this."""


class Limit(msgspec.Struct, frozen=True):
    """One rule: how much of something a subject may use in a window."""

    id: str
    name: str
    organization_id: str | None
    """Whose calls count; None, where the settings declare it: everybody's."""
    project_id: str | None
    """Only the calls of this project count; None: of all of the organization."""
    subject: SubjectKind
    subject_id: str
    """Or ANY."""
    measure: Measure
    amount: int
    """Requests, tokens, micro-USD, or calls under way."""
    window: str
    """Empty for calls under way."""
    thresholds: tuple[float, ...]
    """Shares of the amount, rising, each told of once in a window."""
    hard: bool
    """Whether calls stop at it; else it only tells."""
    created_at: float = 0.0
    created_by: str = ""
    declared: bool = False
    """Whether it stands in the settings, and can be changed only there."""

    def covers(self, caller: Caller) -> bool:
        """Whether calls of this caller count, as far as its organization and project say."""
        return self.organization_id in (None, caller.organization_id) and self.project_id in (None, caller.project_id)

    def subjects(self, caller: Caller, model: str) -> tuple[str, ...]:
        """For whom a call counts, among those that are known before it is read further; sorted."""
        found = _SUBJECTS_OF[self.subject](caller, model) if self.subject in _SUBJECTS_OF else ()
        return found if self.subject_id == ANY else tuple(each for each in found if each == self.subject_id)

    @property
    def rolls(self) -> bool:
        """Whether its window has no beginning."""
        return rolling_seconds(self.window) > 0


class LimitState(msgspec.Struct, frozen=True):
    """What was done to a limit, of one subject, beside using it up."""

    limit_id: str
    subject_id: str
    version: int
    """Rises with every change of any state."""
    reset_at: float = 0.0
    """What was used before counts no more."""
    extra: int = 0
    """What there may be used beyond the amount."""
    extra_until: float = 0.0


class LimitUse(msgspec.Struct, frozen=True):
    """How a limit stands for one subject."""

    used: int
    """With what calls under way may still come to."""
    allowed: int
    """The amount, with what was added to this window."""
    starts_again: float | None
    """None where it never does."""


def slot_name(limit: Limit, subject_id: str) -> str:
    """The name of the slot in the shared counters, the same in every process: 31 characters."""
    identity = "\0".join((limit.id, limit.measure, limit.window, limit.subject, subject_id, limit.project_id or ""))
    return SLOT_MARK + blake2b(identity.encode(), digest_size=_NAME_BYTES).hexdigest()


def _organization(caller: Caller, _model: str) -> tuple[str, ...]:
    return (caller.organization_id,)


def _project(caller: Caller, _model: str) -> tuple[str, ...]:
    return (caller.project_id,)


def _groups(caller: Caller, _model: str) -> tuple[str, ...]:
    return caller.group_ids


def _user(caller: Caller, _model: str) -> tuple[str, ...]:
    return () if caller.user_id is None else (caller.user_id,)


def _key(caller: Caller, _model: str) -> tuple[str, ...]:
    return (caller.key_id,)


def _model(_caller: Caller, model: str) -> tuple[str, ...]:
    return (model,)


_SUBJECTS_OF: Final[Mapping[str, SubjectsOf]] = {
    "organization": _organization,
    "project": _project,
    "group": _groups,
    "user": _user,
    "key": _key,
    "model": _model,
}
