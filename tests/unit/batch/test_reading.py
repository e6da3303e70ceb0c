"""Input files: every line is found where it is, and what is wrong is told by its line."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.batch.batches.reading import MOST_PROBLEMS, Plan, Planner, raw_lines
from polyforge.dialects.openai_batches import BatchProblem, Line, read_line
from polyforge.kernel.errors import TooLarge

URL = "/v1/embeddings"


async def cut(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def line(custom_id: str = "1", **changes: Any) -> bytes:
    return json.dumps(
        {"custom_id": custom_id, "method": "POST", "url": URL, "body": {"model": "m"}, **changes}
    ).encode()


async def planned(content: bytes, *, most: int = 100, part: int = 3, part_bytes: int = 10_000, size: int = 7) -> Plan:
    planner = Planner(URL, most, part, part_bytes)
    async for raw in raw_lines(cut(content, size), 1_000):
        if not planner.add(raw):
            break
    return planner.plan()


@given(st.lists(st.sampled_from([b"one", b"", b"  ", b"two\r", b"x" * 50])), st.integers(1, 40), st.booleans())
async def test_lines_are_found_where_they_are(lines: list[bytes], size: int, ends: bool) -> None:
    content = b"\n".join(lines) + (b"\n" if ends else b"")
    found = [raw async for raw in raw_lines(cut(content, size), 1_000)]
    assert [raw.content for raw in found] == [each for each in lines if each.strip()]
    for raw in found:
        assert content[raw.start : raw.start + len(raw.content)] == raw.content
        assert content[: raw.start].count(b"\n") == raw.number - 1


async def test_a_line_without_an_end_is_refused_before_it_is_held() -> None:
    with pytest.raises(TooLarge, match="line 2"):
        _ = [raw async for raw in raw_lines(cut(b"ok\n" + b"x" * 5_000, 100), 1_000)]


async def test_parts_are_whole_lines_one_after_the_other() -> None:
    content = b"\n\n".join(line(str(number)) for number in range(8))
    plan = await planned(content)
    assert (plan.total, plan.problems) == (8, [])
    assert [calls for _, _, _, calls in plan.parts] == [3, 3, 2]
    ids: list[str] = []
    for first, length, number, calls in plan.parts:
        part = [raw async for raw in raw_lines(cut(content[first : first + length], 11), 1_000, number)]
        assert len(part) == calls
        for raw in part:
            found = read_line(raw.content, raw.number, URL)
            assert isinstance(found, Line)
            assert found.number == int(found.custom_id) * 2 + 1
            ids.append(found.custom_id)
    assert ids == [str(number) for number in range(8)]


async def test_a_part_has_an_end_in_bytes_too() -> None:
    plan = await planned(b"\n".join(line(str(number)) for number in range(4)), part_bytes=200)
    assert [calls for _, _, _, calls in plan.parts] == [2, 2]


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"\xff", "invalid_json_line", None),
        (b"[]", "invalid_request", None),
        (line(custom_id=""), "invalid_request", "custom_id"),
        (line(custom_id="x" * 513), "invalid_request", "custom_id"),
        (json.dumps({"method": "POST", "url": URL, "body": {}}).encode(), "invalid_request", "custom_id"),
        (line(method="GET"), "invalid_request", "method"),
        (line(url="/v1/chat/completions"), "mismatched_url", "url"),
        (line(body=[]), "invalid_request", "body"),
        (line(body=None), "invalid_request", "body"),
    ],
)
async def test_what_is_wrong_with_a_line_is_told(raw: bytes, code: str, param: str | None) -> None:
    plan = await planned(line("0") + b"\n" + raw + b"\n" + line("2"))
    assert [(found.code, found.line, found.param) for found in plan.problems] == [(code, 2, param)]
    assert plan.parts == []


async def test_the_same_id_twice_is_wrong() -> None:
    plan = await planned(b"\n".join(line(each) for each in ("a", "b", "a", "c", "b")))
    assert [(found.code, found.line) for found in plan.problems] == [
        ("duplicate_custom_id", 3),
        ("duplicate_custom_id", 5),
    ]


async def test_a_file_without_lines_or_with_too_many_is_refused() -> None:
    for content in (b"", b"\n \n"):
        assert [found.code for found in (await planned(content)).problems] == ["empty_file"]
    plan = await planned(b"\n".join(line(str(number)) for number in range(9)), most=8)
    assert [(found.code, found.line) for found in plan.problems] == [("too_many_requests", 9)]


async def test_not_more_is_told_than_anybody_reads() -> None:
    plan = await planned(b"{\n" * 1_000, most=5_000)
    assert len(plan.problems) == MOST_PROBLEMS


def test_a_body_is_kept_as_it_came() -> None:
    body = b'{"model": "m",  "x": 1.0}'
    raw = b'{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":' + body + b"}"
    assert read_line(raw, 1, URL) == Line(1, "1", body)
    assert isinstance(read_line(b"[" * 100_000, 1, URL), BatchProblem)
