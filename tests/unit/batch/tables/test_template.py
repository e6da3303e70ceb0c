"""Templates: values go in once, as they are where they are all of a text, and nothing in them is read again."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.batch.tables.template import Template
from polyforge.kernel.errors import Invalid


def filled(template: Any, row: dict[str, Any]) -> Any:
    return json.loads(Template(json.dumps(template)).fill(row))


def test_values_stand_where_their_columns_are_named() -> None:
    template = {
        "model": "m",
        "n": "{{count}}",
        "messages": [
            {"role": "user", "content": "About {{ name }} ({{count}}, {{none}}, {{flag}}, {{tags}}): {{name}}"}
        ],
        "tags": "{{tags}}",
        "kept": {"{{name}}": None, "size": 3.5},
    }
    row = {"name": "Ann", "count": 3, "none": None, "flag": True, "tags": ["a"], "more": 1}
    assert filled(template, row) == {
        "model": "m",
        "n": 3,
        "messages": [{"role": "user", "content": 'About Ann (3, , true, ["a"]): Ann'}],
        "tags": ["a"],
        "kept": {"{{name}}": None, "size": 3.5},
    }


def test_a_whole_body_may_come_from_a_column() -> None:
    assert filled("{{body}}", {"body": {"model": "m", "input": "{{x}}"}}) == {"model": "m", "input": "{{x}}"}
    with pytest.raises(Invalid, match="object"):
        filled("{{body}}", {"body": "text"})


def test_values_are_not_read_again() -> None:
    row = {"a": '{{b}} "}], "model": "other', "b": "secret"}
    assert filled({"x": "{{a}}", "y": "<{{a}}>"}, row) == {"x": row["a"], "y": f"<{row['a']}>"}


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text(), min_size=2))
def test_whatever_is_in_a_row_changes_nothing_else(row: dict[str, Any]) -> None:
    assert filled({"one": "{{a}}", "two": "-{{b}}-", "m": "x"}, row) == {
        "one": row["a"],
        "two": f"-{row['b']}-",
        "m": "x",
    }


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"model": "m"}, "at least one column"),
        ({"x": ["{{a}}"] * 201}, "placeholders"),
        (json.loads("[" * 40 + '"{{a}}"' + "]" * 40), "levels"),
    ],
)
def test_what_is_no_template_is_told(template: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        Template(json.dumps(template))


def test_a_column_that_is_not_there_is_named() -> None:
    template = Template('{"x": "{{there}} {{absent}}"}')
    assert template.columns == {"there", "absent"}
    with pytest.raises(Invalid, match="'absent'"):
        template.fill({"there": "x"})
