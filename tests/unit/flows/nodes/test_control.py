"""Nodes that decide, and those that make text and values of others."""

import pytest

from polyforge.flows.built_in import built_in, runners
from polyforge.kernel.errors import Invalid
from tests.support.node_calls import Bench

OF_THE_RUNNER = {
    "control.wait", "flow.call", "flow.input", "flow.output", "human.approval", "loop.foreach", "loop.while",
    "trigger.schedule", "trigger.webhook",
}  # fmt: skip


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_type_that_is_available_has_something_that_runs_it() -> None:
    able = {(kind.type, kind.v) for kind in built_in(code=True).all() if kind.unavailable is None}
    assert {name for name, _ in able - runners().keys()} == OF_THE_RUNNER
    assert runners().keys() <= able


def test_code_is_there_where_the_operator_allows_it() -> None:
    kinds = [types.newest("code.python") for types in (built_in(), built_in(code=True))]
    assert [kind is not None and kind.unavailable is None for kind in kinds] == [False, True]
    assert built_in(code=True).newest("speech.speak").unavailable  # type: ignore[union-attr]


async def test_a_template_is_filled_once(bench: Bench) -> None:
    assert await bench.run("prompt.template", {"template": "Hi {{a}}, \\{{b}}"}, a="{{b}} \\{{", b="no") == {
        "text": "Hi {{b}} \\{{, {{b}}"
    }
    with pytest.raises(Invalid, match="make them shorter"):
        await bench.run("prompt.template", {"template": "{{a}}" * 5}, a="x" * 1_000_000)


async def test_a_branch_goes_one_way(bench: Bench) -> None:
    params = {"when": "value > limit", "inputs": {"limit": "number"}}
    assert await bench.run("control.branch", params, value=3, limit=2) == {"then": 3}
    assert await bench.run("control.branch", params, value=1, limit=2) == {"else": 1}
    assert await bench.run("control.branch", {"when": "a"}, a=True) == {"then": None}
    with pytest.raises(Invalid, match="neither true nor false"):
        await bench.run("control.branch", {"when": "value"}, value=3)
    with pytest.raises(Invalid, match="cannot be worked out"):
        await bench.run("control.branch", params, value="a", limit=2)


async def test_a_switch_goes_the_first_way_that_holds(bench: Bench) -> None:
    cases = [{"name": "big", "when": "value > 10"}, {"name": "some", "when": "value > 1"}]
    params = {"cases": cases, "inputs": {"value": "number"}}
    for value, way in ((11, "big"), (2, "some"), (0, "otherwise")):
        assert await bench.run("control.switch", params, value=value) == {way: value}


async def test_a_merge_takes_the_first_that_is_there(bench: Bench) -> None:
    params = {"names": ["a", "b", "c"]}
    assert await bench.run("control.merge", params, c=3, b=2) == {"value": 2}
    assert await bench.run("control.merge", params) == {}


async def test_a_transform_works_a_value_out(bench: Bench) -> None:
    params = {"inputs": {"rows": "json"}, "jmespath": "rows[?n > `1`].n", "result": "list<number>"}
    assert await bench.run("data.transform", params, rows=[{"n": 1}, {"n": 2}]) == {"value": [2]}
    params = {"inputs": {"a": "number"}, "cel": "a + 1", "result": "number"}
    assert await bench.run("data.transform", params, a=1) == {"value": 2}
    with pytest.raises(Invalid, match="the value is no text"):
        await bench.run("data.transform", {**params, "result": "text"}, a=1)


async def test_a_cache_recalls_what_it_kept(bench: Bench) -> None:
    assert await bench.run("data.cache", {"do": "recall"}, key="k") == {"missing": "k"}
    assert await bench.run("data.cache", {"do": "keep"}, key="k", value=[1]) == {"value": [1]}
    assert await bench.run("data.cache", {"do": "recall"}, key="k") == {"found": [1]}


async def test_an_answer_is_scored(bench: Bench) -> None:
    for measure, answer, expected, score in (
        ("exact", "  The\nCat ", "the cat", 1.0),
        ("exact", "a cat", "the cat", 0.0),
        ("contains", "it is Paris.", "paris", 1.0),
        ("words", "a b c d", "a b", 2 / 3),
        ("words", "", "", 1.0),
        ("similarity", "same", "same", 1.0),
    ):
        found = await bench.run("evaluate.score", {"measure": measure}, answer=answer, expected=expected)
        assert found["score"] == pytest.approx(score), measure
    with pytest.raises(Invalid, match="use `words`"):
        await bench.run("evaluate.score", {"measure": "similarity"}, answer="x" * 10_000, expected="y")


async def test_a_model_judges_an_answer(bench: Bench) -> None:
    bench.facilities.models.says = ['{"reason": "short", "score": 0.25}']
    params = {"measure": "judge", "model": {"$ref": "model:m"}, "criteria": "Be polite."}
    found = await bench.run("evaluate.score", params, answer="no")
    assert found == {"score": 0.25, "details": {"measure": "judge", "reason": "short"}}
    assert "Be polite." in bench.facilities.models.asked[0]["messages"][0]["content"]
    with pytest.raises(Invalid, match="who judges"):
        await bench.run("evaluate.score", {"measure": "judge"}, answer="no")
