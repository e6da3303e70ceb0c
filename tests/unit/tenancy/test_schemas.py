"""What the management API takes: whatever comes in is either valid or refused, never a failure."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from polyforge.kernel.money import from_usd
from polyforge.tenancy.schemas import KeyChanges, Moment, NewKey, Rotation

FIELDS = list(NewKey.model_fields)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 201),
        ("name", "a\0b"),
        ("name", "a\nb"),
        ("name", "\ud800"),
        ("name", 5),
        ("name", None),
        ("scopes", []),
        ("scopes", ["everything"]),
        ("scopes", "inference"),
        ("models", []),
        ("models", ["a*b"]),
        ("models", ["*a"]),
        ("models", ["a\0"]),
        ("models", ["m"] * 1001),
        ("rpm", 0),
        ("rpm", 10_000_001),
        ("rpm", 1.5),
        ("rpm", "5"),
        ("rpm", True),
        ("tpm", 0),
        ("tpm", 10**30),
        ("concurrency", -1),
        ("budget_usd", -0.01),
        ("budget_usd", 1e9 + 1),
        ("budget_usd", float("nan")),
        ("budget_usd", float("inf")),
        ("budget_usd", 10**400),
        ("budget_usd", "5"),
        ("budget_usd", True),
        ("budget_period", "year"),
        ("budget_period", None),
        ("expires_at", "soon"),
        ("expires_at", "9999-12-31T23:59:59-14:00"),
        ("expires_at", float("nan")),
        ("expires_at", 1e300),
        ("budget", 5),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        NewKey.model_validate({"name": "n", field: value})
    assert {error["loc"][0] for error in refused.value.errors(include_input=False)} == {field}


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_body_is_valid_or_refused(body: dict[str, Any]) -> None:
    for model in (NewKey, KeyChanges):
        try:
            key = model.model_validate(body)
        except ValidationError:
            continue
        if key.budget_usd is not None:
            assert 0 <= from_usd(key.budget_usd) <= 10**15


def test_defaults_are_without_limit_and_may_call_models() -> None:
    key = NewKey(name="n")
    assert key.scopes == ["inference", "models:read"]
    assert (key.models, key.budget_usd, key.rpm, key.tpm, key.concurrency, key.expires_at) == (None,) * 6


def test_a_time_without_an_offset_is_utc() -> None:
    moment: TypeAdapter[datetime] = TypeAdapter(Moment)
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    for text in ("2026-05-01T12:00:00", "2026-05-01T12:00:00Z", "2026-05-01T14:00:00+02:00"):
        assert moment.validate_python(text) == noon
    assert moment.validate_python("2026-05-01") == datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("grace", [-1, 30 * 86_400 + 1, 0.5, "1", True])
def test_a_wrong_grace_is_refused(grace: object) -> None:
    with pytest.raises(ValidationError):
        Rotation.model_validate({"grace_seconds": grace})
