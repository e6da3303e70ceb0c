"""What a row gets: the words of an answer, whatever shape it has."""

import json
from typing import Any

import msgspec
import pytest

from polyforge.batch.tables.answers import TableWriter, said_in
from polyforge.batch.tables.records import COLUMNS, beside, format_of
from polyforge.dialects.openai_batches import BatchUsage, Line
from polyforge.kernel.errors import Invalid, RateLimited

LINE = Line(7, "7", b"{}")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"choices": [{"message": {"content": "fine"}}, {"message": {"content": "other"}}]}, "fine"),
        ({"choices": [{"message": {"content": None, "refusal": "no"}}]}, "no"),
        ({"choices": [{"message": {"content": None, "tool_calls": [{"id": "a"}]}}]}, '[{"id":"a"}]'),
        ({"choices": [{"message": {"content": None}}]}, ""),
        ({"choices": [{"text": "completed"}]}, "completed"),
        (
            {
                "output": [
                    {"type": "reasoning", "summary": []},
                    {"type": "message", "content": [{"type": "output_text", "text": "a"}, {"text": "b"}]},
                ]
            },
            "ab",
        ),
        ({"said": 1}, '{"said": 1}'),
        ([1], "[1]"),
    ],
)
def test_the_words_of_an_answer(body: Any, said: str) -> None:
    assert said_in(json.dumps(body).encode()) == said


def test_a_vector_is_as_the_model_wrote_it() -> None:
    found = said_in(b'{"data":[{"embedding":[0.1,2.50,-3e-7]}]}')
    assert isinstance(found, msgspec.Raw)
    assert bytes(found) == b"[0.1,2.50,-3e-7]"


def test_each_row_has_all_columns_in_order() -> None:
    writer = TableWriter([f"x_{name}" for name in COLUMNS])
    used = BatchUsage(input_tokens=3, output_tokens=4)
    answered = writer.answer(LINE, "r", b'{"choices":[{"text":"fine"}]}', used, 1_500)
    refused, undone = writer.refusal(LINE, RateLimited("full")), writer.undone(LINE, "batch_expired", "late")
    assert [list(json.loads(line)) for line in (answered, refused, undone)] == [[f"x_{name}" for name in COLUMNS]] * 3
    assert list(json.loads(answered).values()) == ["fine", None, 3, 4, 0.0015]
    assert list(json.loads(refused).values()) == [None, "rate_limit_exceeded: full", 0, 0, 0.0]
    assert list(json.loads(undone).values()) == [None, "batch_expired: late", 0, 0, 0.0]
    assert answered.endswith(b"\n")


def test_names_of_tables() -> None:
    assert [format_of(name) for name in ("a.csv", "a/B.TSV", "a.ndjson", "x.parquet")] == [
        "csv",
        "csv",
        "jsonl",
        "parquet",
    ]
    with pytest.raises(Invalid, match="format"):
        format_of("table.xlsx")
    assert (beside("a/b.c.csv", "answers"), beside("plain", "errors")) == ("a/b.c.answers.csv", "plain.errors")
