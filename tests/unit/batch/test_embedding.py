"""Lines for the same embedding model go together, and each gets its own answer back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.batch.batches.embedding import Unit, shares, split, units_of
from polyforge.dialects.openai_batches import Line
from polyforge.kernel.errors import UpstreamFailed


def line(number: int, asked: Any, **body: Any) -> Line:
    return Line(number, str(number), json.dumps({"model": "m", "input": asked, **body}).encode())


def numbers(units: list[Unit]) -> list[list[int]]:
    return sorted([each.number for each in unit.lines] for unit in units)


def answer(count: int, tokens: int = 10) -> bytes:
    data = [{"object": "embedding", "index": index, "embedding": [float(index)]} for index in range(count)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data[::-1], "model": "m", "usage": usage}).encode()


def test_lines_that_ask_the_same_go_together() -> None:
    lines = [
        line(1, "a"),
        line(2, ["b", "c"]),
        line(3, "d", dimensions=8),
        line(4, "e", encoding_format="base64"),
        line(5, [1, 2]),
        line(6, "f", model="other"),
        line(7, "g", user="ann"),
        line(8, "h", truncate=True),
        line(9, ""),
        Line(10, "10", b"{"),
        line(11, "i"),
        line(12, [[3], [4, 5]]),
    ]
    units = list(units_of(lines, 128))
    assert numbers(units) == [[1, 2, 11], [3], [4], [5, 12], [6], [7], [8], [9], [10]]
    together = next(unit for unit in units if len(unit.lines) == 3)
    assert json.loads(together.body) == {"model": "m", "input": ["a", "b", "c", "i"], "encoding_format": "float"}
    assert all(unit.body == unit.lines[0].body for unit in units if len(unit.lines) == 1)


def test_not_more_go_together_than_may() -> None:
    lines = [line(number, ["x"] * (number % 3 + 1)) for number in range(50)]
    units = list(units_of(lines, 8))
    assert sorted(each.number for unit in units for each in unit.lines) == list(range(50))
    assert max(sum(unit.sizes) for unit in units) <= 8
    large = [line(number, "x" * 600_000) for number in range(4)]
    assert numbers(list(units_of(large, 8))) == [[0], [1], [2], [3]]


def test_each_line_gets_its_answer() -> None:
    lines = [line(1, "a" * 100), line(2, ["b", "c"]), line(3, "d")]
    (unit,) = units_of(lines, 128)
    bodies, used = split(unit, answer(4, tokens=100))
    found = [json.loads(body) for body in bodies]
    assert [[item["embedding"] for item in each["data"]] for each in found] == [[[0.0]], [[1.0], [2.0]], [[3.0]]]
    assert [[item["index"] for item in each["data"]] for each in found] == [[0], [0, 1], [0]]
    tokens = [each["usage"]["prompt_tokens"] for each in found]
    assert tokens == used
    assert sum(tokens) == 100
    assert tokens[0] > tokens[1]
    assert all(each["object"] == "list" and each["model"] == "m" for each in found)


def test_an_answer_that_does_not_fit_is_none() -> None:
    (unit,) = units_of([line(1, "a"), line(2, "b")], 128)
    for body in (answer(1), answer(3), b"{}", b"no"):
        with pytest.raises(UpstreamFailed):
            split(unit, body)


def test_an_answer_of_many_lines_becomes_one_line_each() -> None:
    (unit,) = units_of([line(1, "a"), line(2, "b")], 128)
    pretty = json.dumps(json.loads(answer(2)), indent=2).encode()
    assert split(unit, pretty) == split(unit, answer(2))
    assert not any(b"\n" in body for body in split(unit, pretty)[0])


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    found = shares(total, weights)
    assert sum(found) == total
    assert min(found) >= 0
