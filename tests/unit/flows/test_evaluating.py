"""Expressions come to what they should, and no expression takes the machine with it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.flows.evaluating import cel_holds, cel_value, jmespath_value
from polyforge.kernel.errors import Invalid
from tests.support.flows import values


@pytest.mark.parametrize(
    ("expression", "given", "found"),
    [
        ("a + b", {"a": 1, "b": 2}, 3),
        ("a.x[0]", {"a": {"x": ["q"]}}, "q"),
        ("{'k': a, 'n': null}", {"a": None}, {"k": None, "n": None}),
        ("rows.filter(r, r.n > 1).map(r, r.t + '!')", {"rows": [{"n": 2, "t": "a"}, {"n": 1, "t": "b"}]}, ["a!"]),
        ("timestamp('2020-01-01T00:00:00Z')", {}, "2020-01-01T00:00:00Z"),
        ("duration('90s')", {}, 90.0),
        ("b'abc'", {}, "YWJj"),
        ("a.matches('^(x+)+$')", {"a": "x" * 5_000 + "y"}, False),
        ("size(a) > 2 ? 'much' : 'little'", {"a": [1, 2, 3]}, "much"),
        ("names.exists(n, n in known)", {"names": ["a", "b"], "known": ["b"]}, True),
        ("rows.map(r, r.n * k)", {"rows": [{"n": n} for n in range(5_000)], "k": 2}, list(range(0, 10_000, 2))),
    ],
)  # fmt: skip
def test_cel_comes_to_what_it_should(expression: str, given: dict[str, Any], found: Any) -> None:
    assert cel_value(expression, given) == found


@pytest.mark.parametrize(
    ("expression", "given"),
    [
        ("a + b", {"a": 1, "b": 1.5}),
        ("a.b", {"a": {}}),
        ("a[3]", {"a": []}),
        ("1 / 0", {}),
        ("9223372036854775807 + 1", {}),
        ("nope", {}),
        ("1.0 / 0.0", {}),
    ],
)
def test_what_cannot_be_worked_out_is_told(expression: str, given: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        cel_value(expression, given)


def test_a_condition_is_true_or_false() -> None:
    assert cel_holds("a > 1", {"a": 2})
    with pytest.raises(Invalid, match="neither true nor false"):
        cel_holds("a", {"a": 1})


MANY = list(range(10_000))


@pytest.mark.parametrize(
    ("expression", "given"),
    [
        ("a" + ".map(x, x + x)" * 60, {"a": ["q"]}),
        ("a" + ".map(x, [x, x])" * 60, {"a": ["q"]}),
        ("a" + ".map(x, {'a': x, 'b': x})" * 60, {"a": ["q"]}),
        ("a.map(x, a)", {"a": MANY}),
        ("a.map(x, a.map(y, a.map(z, 1)))", {"a": list(range(1_000))}),
        ("a.exists(x, a.exists(y, a.exists(z, x + y + z < 0)))", {"a": list(range(1_000))}),
        ("r'\\' + a.map(x, a.map(y, a)) + '\\'", {"a": MANY}),
        ("a.map(x, '''it's''' + 'a.map(' + a.map(y, a.map(z, 'q'))[0][0])", {"a": MANY}),
        ("// '\na.map(x, a) // '", {"a": MANY}),
        ("[" + ",".join("1" * 1_000) + "].map(x, a.map(y, [" + ",".join("1" * 500) + "].map(z, x)))", {"a": MANY}),
    ],
)
def test_a_bomb_in_cel_does_not_go_off(expression: str, given: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="expression"):
        cel_value(expression, given)


@pytest.mark.parametrize(
    ("expression", "given"),
    [
        ("|".join(["[@, @]"] * 60), {"a": 1}),
        ("|".join(["[@, @][]"] * 60), {"a": 1}),
        ("|".join(["{a: @, b: @}"] * 60), {"a": 1}),
        ("|".join(["[@, @]"] * 60) + " | to_string(@)", {"a": 1}),
        ("join(s, a)", {"s": "x" * 1_000_000, "a": ["q"] * 10_000}),
        ("[a, a][].[a, a][].[a, a][]", {"a": [{"a": [{"a": MANY}] * 10}] * 10}),
    ],
)
def test_a_bomb_in_jmespath_does_not_go_off(expression: str, given: dict[str, Any]) -> None:
    try:
        jmespath_value(expression, given)
    except Invalid:
        return
    assert "[a, a][]" in expression


@pytest.mark.parametrize(
    ("expression", "given", "found"),
    [
        ("a[?n > `1`].n", {"a": [{"n": 1}, {"n": 2}]}, [2]),
        ("sum(a[].n)", {"a": [{"n": 1}, {"n": 2}]}, 3),
        ("join(', ', sort(a))", {"a": ["b", "a"]}, "a, b"),
        ("a.nope", {"a": {}}, None),
        ("{x: a, y: b}", {"a": 1, "b": "c"}, {"x": 1, "y": "c"}),
    ],
)
def test_jmespath_picks_out(expression: str, given: dict[str, Any], found: Any) -> None:
    assert jmespath_value(expression, given) == found


def test_jmespath_says_what_is_wrong() -> None:
    for expression in ("foo(@)", "sum(a)", "[", "a.b."):
        with pytest.raises(Invalid, match="cannot be worked out"):
            jmespath_value(expression, {"a": "x"})


@given(st.dictionaries(st.sampled_from(["a", "b"]), values), st.sampled_from(["a", "[a, b]", "{'k': a}", "size(a)"]))
def test_whatever_goes_in_what_comes_out_is_json_or_an_error(given: dict[str, Any], expression: str) -> None:
    try:
        found = cel_value(expression, given)
    except Invalid:
        return
    assert found is None or isinstance(found, bool | int | float | str | list | dict)
