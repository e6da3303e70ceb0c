"""Text with names in it, and expressions: nothing else gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.flows.expressions import check_cel, check_jmespath
from polyforge.flows.templates import Hole, names_in, parse_template


def test_a_template_is_text_and_names() -> None:
    pieces = parse_template("Dear {{ name }}, {{x_1}}{{name}} {not} } }} \\{{raw}}")
    assert pieces == ("Dear ", Hole("name"), ", ", Hole("x_1"), Hole("name"), " {not} } }} ", "{{", "raw}}")
    assert names_in("{{b}} {{a}} {{b}}") == ("b", "a")


@pytest.mark.parametrize(
    "text",
    ["{{", "{{}}", "{{ a.b }}", "{{a()}}", "{{a|upper}}", "{{ a }", "{{{{a}}}}", "{{ a b }}", "{% if a %}{{",
     "{{a[0]}}",
     "{{__class__}}", "{{а}}", "{{a\n}}", "{{config}} {{ ''.join }}", "{{" * 10_000],
)  # fmt: skip
def test_what_else_templates_can_do_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"at character \d+"):
        parse_template(text)
    assert names_in(text) == ()


@given(st.text())
def test_text_without_braces_is_itself(text: str) -> None:
    plain = text.replace("{{", "")
    if "{{" not in plain:
        assert "".join(str(piece) for piece in parse_template(plain)) == plain


def test_there_is_a_most_of_names() -> None:
    with pytest.raises(ValueError, match="at most 200 different names"):
        parse_template("".join(f"{{{{n{place}}}}}" for place in range(201)))


def test_cel_over_names() -> None:
    check_cel("score > 0.5 && label in ['a', 'b']", ("score", "label"))
    check_cel("items.filter(each, each.size > 2).map(e, e.name).exists(n, n == 'x')", ("items",))
    check_cel("true", ())


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("a >", "no CEL"),
        ("missing == 1", "knows no missing; there are a"),
        ("__import__ == 1", "knows no __import__"),
        ("import os", "no CEL"),
        ("(" * 40 + "a" + ")" * 40, "brackets"),
        ("a" * 5_000, "at most 4000 characters"),
        ("", "no CEL"),
    ],
)
def test_cel_that_is_none(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_cel(expression, ("a",))


def test_jmespath() -> None:
    check_jmespath("people[?age > `20`].{name: name, n: length(name)} | [0]")


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("a[", "no JMESPath"),
        ("", "no JMESPath"),
        ("system('ls')", "no function system"),
        ("[" * 40 + "]" * 40, "brackets"),
        ("!" * 3_900 + "a", "nested too deep"),
        ("a" * 5_000, "at most 4000 characters"),
    ],
)
def test_jmespath_that_is_none(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_jmespath(expression)


def test_brackets_in_quotes_do_not_count() -> None:
    check_cel(f"a == '{'(' * 100}'", ("a",))
