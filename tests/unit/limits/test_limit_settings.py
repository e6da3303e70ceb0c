"""Limits as polyforge.yaml declares them."""

from typing import Any

import pytest
from pydantic import ValidationError

from polyforge.kernel.ids import decode
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.limits.records import ANY, slot_name
from polyforge.tenancy.limits.settings import LimitSettings, declared_limits

SAMPLE: dict[str, Any] = {"subject": "user", "measure": "money", "amount": 20.5, "window": "month"}


def settings(**changes: Any) -> LimitSettings:
    return LimitSettings.model_validate({**SAMPLE, **changes})


def test_what_is_declared_is_a_limit() -> None:
    everybody = settings(organization="*", thresholds=[0.9, 0.5, 0.9], hard=False)
    first, second = declared_limits({"mine": settings(), "all": everybody})
    assert (first.name, first.organization_id, first.subject_id, first.amount) == (
        "mine",
        DEFAULT_ORGANIZATION_ID,
        ANY,
        20_500_000,
    )
    assert (second.organization_id, second.thresholds, second.hard) == (None, (0.5, 0.9), False)
    assert first.declared
    assert first.id != second.id
    assert decode(first.id) < 2**80
    assert declared_limits({"mine": settings(amount=1)})[0].id == first.id


@pytest.mark.parametrize(
    "changes",
    [
        {"window": None},
        {"measure": "concurrency"},
        {"measure": "tokens"},
        {"organization": "*", "project": "p"},
        {"thresholds": [0]},
        {"colour": "red"},
    ],
)
def test_what_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**changes)


def test_slots_are_told_apart() -> None:
    (rule,) = declared_limits({"mine": settings()})
    (daily,) = declared_limits({"mine": settings(window="day")})
    names = {slot_name(rule, "a"), slot_name(rule, "b"), slot_name(daily, "a")}
    assert len(names) == 3
    assert all(len(name.encode()) <= 32 for name in names)
