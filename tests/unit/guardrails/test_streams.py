"""Streams through guardrails: what leaves, when, and what never does."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from polyforge.adapters.guardrails import length, pii, schema
from polyforge.guardrails.passing import Passing
from polyforge.guardrails.rules import Rule
from polyforge.kernel.chat import (
    Delta,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import GuardrailBlocked, GuardrailFailed
from polyforge.kernel.usage import Usage
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage
from polyforge.ports.secret_source import SecretSource

ABOUT = About("id", "model")
MAIL = "jane.doe@acme.co"


def rule(name: str, guardrail: Any, action: Action = "block", **more: Any) -> Rule:
    return Rule(name, name, guardrail, frozenset({"input", "output"}), action, **more)


def masking(**settings: Any) -> Rule:
    return rule("pii", pii.PersonalData(pii.Settings(kinds=("email",), **settings), "mask"), "mask")


async def through(rules: Sequence[Rule], deltas: Sequence[Delta]) -> list[Delta]:
    """What comes out, one delta at a time."""
    guard = Passing(rules, ABOUT).stream()
    out: list[Delta] = []
    for number, delta in enumerate(deltas, 1):
        out += await guard.pass_on([delta], end=number == len(deltas))
    return out


def said(deltas: Sequence[Delta], choice: int = 0) -> str:
    return "".join(each.text for each in deltas if isinstance(each, TextDelta) and each.choice == choice)


@pytest.mark.parametrize("cut", range(1, len(MAIL)))
async def test_a_find_over_two_deltas_is_masked(cut: int) -> None:
    out = await through([masking()], [TextDelta("to " + MAIL[:cut]), TextDelta(MAIL[cut:] + " now"), Finished("stop")])
    assert said(out) == "to [EMAIL] now"


async def test_choices_and_kinds_of_text_do_not_mix() -> None:
    deltas: list[Delta] = [
        Started("m"),
        ReasoningDelta("think of jane.doe@"),
        TextDelta("one ", choice=1),
        ReasoningDelta("acme.co then"),
        ReasoningEnd("sig"),
        TextDelta("two"),
        ToolCallStart(0, "a", "send"),
        ToolCallDelta(0, '{"to":"jane.'),
        ToolCallDelta(0, 'doe@acme.co"}'),
        Finished("tool_calls"),
        Finished("stop", choice=1),
        Used(Usage(output=3)),
    ]
    out = await through([masking()], deltas)
    assert "".join(each.text for each in out if isinstance(each, ReasoningDelta)) == "think of [EMAIL] then"
    assert "".join(each.arguments for each in out if isinstance(each, ToolCallDelta)) == '{"to":"[EMAIL]"}'
    assert (said(out), said(out, 1)) == ("two", "one ")
    # What follows a text comes after all of it.
    kinds = [type(each) for each in out]
    assert kinds.index(ReasoningEnd) > max(n for n, kind in enumerate(kinds) if kind is ReasoningDelta)
    assert kinds.index(Finished) > max(n for n, kind in enumerate(kinds) if kind is ToolCallDelta)
    assert kinds[-1] is Used


async def test_text_in_which_nothing_can_be_is_not_held_back() -> None:
    guard = Passing([masking()], ABOUT).stream()
    assert said(await guard.pass_on([TextDelta("plain words. ")], end=False)) == "plain words. "


async def test_two_guardrails_both_see_the_stream() -> None:
    long = rule("length", length.Length(length.Settings(most=20), "block"))
    assert said(await through([masking(), long], [TextDelta(MAIL), TextDelta(" ok"), Finished("stop")])) == "[EMAIL] ok"
    with pytest.raises(GuardrailBlocked, match="'length'"):
        await through([masking(), long], [TextDelta("x" * 21), Finished("stop")])


async def test_what_needs_the_whole_answer_holds_it() -> None:
    fits = rule("schema", schema.Schema(schema.Settings(json_schema={"type": "object"}), "block"))
    guard = Passing([fits], ABOUT).stream()
    assert await guard.pass_on([TextDelta('{"a"')], end=False) == []
    out = await guard.pass_on([TextDelta(":1}"), Finished("stop")], end=True)
    assert said(out) == '{"a":1}'
    with pytest.raises(GuardrailBlocked):
        await through([fits], [TextDelta("no json"), Finished("stop")])


async def test_what_is_too_long_to_be_held_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyforge.guardrails.streams.MOST_HELD", 10)
    fits = rule("schema", schema.Schema(schema.Settings(json_schema={}), "block"))
    with pytest.raises(GuardrailFailed):
        await through([fits], [TextDelta("x" * 11), Finished("stop")])


async def test_a_thought_whose_end_is_not_said_is_over_when_words_begin() -> None:
    deltas = [ReasoningDelta("ask jane.doe@acme.co"), TextDelta(""), ReasoningDelta(" now"), TextDelta("so")]
    out = await through([masking()], [*deltas, Finished("stop")])
    kinds = [type(each) for each in out]
    assert kinds.index(TextDelta) > max(place for place, kind in enumerate(kinds) if kind is ReasoningDelta)
    assert "".join(each.text for each in out if isinstance(each, ReasoningDelta)) == "ask [EMAIL] now"


class Broken:
    """A guardrail that cannot judge."""

    async def open(self, secrets: SecretSource) -> None: ...

    async def close(self) -> None: ...

    def begin(self, about: About) -> "Broken":
        return self

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        raise ValueError("broken")

    def filter(self, part: Part) -> None: ...


async def test_a_guardrail_that_cannot_judge_lets_nothing_through() -> None:
    deltas = [TextDelta("x"), Finished("stop")]
    with pytest.raises(GuardrailFailed):
        await through([rule("broken", Broken())], deltas)
    with pytest.raises(GuardrailFailed):
        await Passing([rule("broken", Broken())], ABOUT).check("input", [Passage("x")])
    assert said(await through([rule("broken", Broken(), on_error="allow")], deltas)) == "x"


class Crashing(Broken):
    """A guardrail with a fault of its own, which is none of the errors that one would think of."""

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        raise RuntimeError(MAIL)

    def filter(self, part: Part) -> Any:
        return self

    def feed(self, text: str) -> str:
        raise RuntimeError(MAIL)


async def test_whatever_a_guardrail_raises_is_no_judgement_and_is_not_told() -> None:
    passing = Passing([rule("crashing", Crashing())], ABOUT)
    for judging in (passing.check("input", [Passage("x")]), passing.stream().pass_on([TextDelta("x")], end=False)):
        with pytest.raises(GuardrailFailed) as raised:
            await judging
        assert MAIL not in str(raised.value)
    assert [found.action for found in passing.found] == ["error", "error"]
    lenient = Passing([rule("crashing", Crashing(), on_error="allow")], ABOUT)
    assert await lenient.check("input", [Passage("x")]) is None
    with pytest.raises(GuardrailFailed):
        await lenient.stream().pass_on([TextDelta("x")], end=False)


async def test_what_was_found_is_written_down_without_the_text() -> None:
    passing = Passing([masking()], ABOUT)
    assert await passing.check("input", [Passage(f"a {MAIL}"), Passage("b")]) == ["a [EMAIL]", "b"]
    (found,) = passing.found
    assert (found.guardrail, found.stage, found.action, found.kinds, found.count) == (
        "pii",
        "input",
        "mask",
        ("email",),
        1,
    )
    assert MAIL not in repr(found)


async def test_values_come_back_escaped_in_arguments() -> None:

    guardrail = pii.PersonalData(pii.Settings(kinds=("email", "password")), "pseudonyms")
    passing = Passing([rule("pii", guardrail, "pseudonyms")], ABOUT)
    hidden = await passing.check("input", [Passage(f"to {MAIL}"), Passage('{"password": "k\\\\1aB"}', "arguments")])
    assert hidden is not None
    mail, password = hidden[0].removeprefix("to "), json.loads(hidden[1])["password"]
    assert (mail, password) != (MAIL, "k\\1aB")
    text = json.dumps({"to": f"\n{mail}", "password": password})
    expected = {"to": f"\n{MAIL}", "password": "k\\1aB"}
    assert json.loads((await passing.check("output", [Passage(text, "arguments")]) or [""])[0]) == expected
    guard = passing.stream()
    out = await guard.pass_on([ToolCallStart(0, "a", "f")], end=False)
    for sign in text:
        out += await guard.pass_on([ToolCallDelta(0, sign)], end=False)
    out += await guard.pass_on([Finished("tool_calls")], end=True)
    assert json.loads("".join(each.arguments for each in out if isinstance(each, ToolCallDelta))) == expected


@pytest.mark.parametrize("size", [1, 2, 5, 100])
async def test_masked_arguments_stay_json(size: int) -> None:
    text = '{"card": 4111111111111111, "to": "a\\njane.doe@acme.co", "cc": "jane.doe\\u0040acme.co"}'
    rules = [rule("pii", pii.PersonalData(pii.Settings(template='"{kind}"'), "mask"), "mask")]
    expected = {"card": '"CARD"', "to": 'a\n"EMAIL"', "cc": '"EMAIL"'}
    deltas: list[Delta] = [ToolCallDelta(0, text[start : start + size]) for start in range(0, len(text), size)]
    out = await through(rules, [ToolCallStart(0, "a", "f"), *deltas, Finished("tool_calls")])
    assert json.loads("".join(each.arguments for each in out if isinstance(each, ToolCallDelta))) == expected
    whole = await Passing(rules, ABOUT).check("output", [Passage(text, "arguments", "assistant")])
    assert whole is not None
    assert json.loads(whole[0]) == expected
