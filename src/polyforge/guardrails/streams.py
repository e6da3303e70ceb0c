"""A streamed answer on its way through guardrails: changed as it comes, or held until all of it can be judged."""

from collections.abc import Sequence
from typing import Final, Protocol

from polyforge.guardrails.passages import answered, with_answered
from polyforge.guardrails.rules import Rule
from polyforge.kernel.chat import (
    Delta,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from polyforge.kernel.errors import GuardrailBlocked, GuardrailFailed
from polyforge.kernel.folding import fold, unfold
from polyforge.ports.guardrail import Outcome, Part, Passage, Stage, TextFilter

MOST_HELD: Final = 8_000_000
"""Characters of an answer that are held until it can be judged."""
_PROSE: Final[dict[type[TextDelta | ReasoningDelta | RefusalDelta], Part]] = {
    TextDelta: "text",
    ReasoningDelta: "reasoning",
    RefusalDelta: "refusal",
}
_PARTS: Final[tuple[Part, ...]] = (*_PROSE.values(), "arguments")

Filters = list[tuple[Rule, TextFilter]]
_Key = tuple[int, Part, int]
"""Which text of an answer: its choice, what it is, and for arguments the number of the call."""


class Judge(Protocol):
    """The guardrails of one call."""

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> list[str] | None:
        """The texts of a whole answer as they are to go on; None: unchanged."""
        ...

    def filters(self, part: Part) -> Filters | None:
        """What a streamed text goes through; None where only the whole answer can be judged."""
        ...

    def note(self, rule: Rule, stage: Stage, outcome: Outcome) -> None:
        """Write down what was found; GuardrailBlocked when that must not go on."""
        ...

    def fail(self, rule: Rule, stage: Stage, error: Exception) -> None:
        """A guardrail could not judge: GuardrailFailed, unless its policy lets through what it cannot judge."""
        ...


class StreamGuard:
    """Gives out of a stream what may be sent on. What was held back and not let through has not left."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._texts: dict[_Key, Filters] = {}
        self._whole = any(judge.filters(part) is None for part in _PARTS)
        self._held: list[Delta] = []
        self._size = 0

    async def pass_on(self, deltas: Sequence[Delta], *, end: bool) -> list[Delta]:
        """What to send on for these deltas; all that is left at the `end`."""
        if self._whole:
            self._hold(deltas)
            return await self._judged() if end else []
        ready: list[Delta] = []
        for delta in deltas:
            self._let_through(delta, ready)
        if end:
            self._flush(list(self._texts), ready)
        return ready

    def _hold(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if isinstance(delta, TextDelta | ReasoningDelta | RefusalDelta):
                self._size += len(delta.text)
            elif isinstance(delta, ToolCallDelta):
                self._size += len(delta.arguments)
        if self._size > MOST_HELD:
            raise GuardrailFailed(f"a guardrail needs the whole answer, which has more than {MOST_HELD} characters")
        self._held += deltas

    async def _judged(self) -> list[Delta]:
        result = fold(self._held)
        if result is None:
            raise GuardrailFailed("a guardrail needs the whole answer, and the stream makes none")
        texts = await self._judge.check("output", answered(result))
        return self._held if texts is None else unfold(with_answered(result, texts), result.usage)

    def _let_through(self, delta: Delta, ready: list[Delta]) -> None:
        """What a text has held back goes before what follows it."""
        if isinstance(delta, TextDelta | ReasoningDelta | RefusalDelta):
            if delta.text and not isinstance(delta, ReasoningDelta):
                # Some dialects do not say that a thought is over.
                self._flush([(delta.choice, "reasoning", 0)], ready)
            if text := self._feed((delta.choice, _PROSE[type(delta)], 0), delta.text):
                ready.append(delta if text == delta.text else type(delta)(text, delta.choice))
        elif isinstance(delta, ToolCallDelta):
            if text := self._feed((delta.choice, "arguments", delta.index), delta.arguments):
                ready.append(ToolCallDelta(delta.index, text, delta.choice))
        else:
            if isinstance(delta, ReasoningEnd):
                self._flush([(delta.choice, "reasoning", 0)], ready)
            elif isinstance(delta, ToolCallStart | Finished):
                self._flush([key for key in self._texts if key[0] == delta.choice], ready)
            ready.append(delta)

    def _feed(self, key: _Key, text: str) -> str:
        filters = self._texts.get(key)
        if filters is None:
            filters = self._texts[key] = self._judge.filters(key[1]) or []
        for rule, one in filters:
            text = self._run(rule, one, text, last=False)
        return text

    def _flush(self, keys: Sequence[_Key], ready: list[Delta]) -> None:
        """End these texts: what their filters hold goes through those behind them, and out."""
        for key in keys:
            text = ""
            for rule, one in self._texts.pop(key, []):
                text = (self._run(rule, one, text, last=False) if text else "") + self._run(rule, one, "", last=True)
                self._judge.note(rule, "output", one.outcome())
            if text:
                ready.append(_delta(key, text))

    def _run(self, rule: Rule, one: TextFilter, text: str, *, last: bool) -> str:
        try:
            return one.finish() if last else one.feed(text)
        except GuardrailBlocked:
            found = one.outcome()
            self._judge.note(rule, "output", Outcome(found.kinds or (rule.name,), max(1, found.count), blocked=True))
            raise
        except GuardrailFailed:
            raise
        except Exception as error:
            self._judge.fail(rule, "output", error)
            # What the filter held is lost, so nothing can go on, whatever the policy for errors is.
            raise GuardrailFailed(f"the guardrail {rule.name!r} cannot judge the answer") from error


def _delta(key: _Key, text: str) -> Delta:
    choice, part, number = key
    for kind, prose in _PROSE.items():
        if part == prose:
            return kind(text, choice)
    return ToolCallDelta(number, text, choice)
