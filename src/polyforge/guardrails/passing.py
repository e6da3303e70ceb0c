"""One call on its way through its guardrails: the request first, then the answer, whole or as a stream."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final

import msgspec

from polyforge.guardrails.passages import retold, texts_of
from polyforge.guardrails.rules import Rule
from polyforge.guardrails.streams import StreamGuard
from polyforge.kernel.errors import GuardrailBlocked, GuardrailFailed
from polyforge.ports.guardrail import About, GuardrailSession, Outcome, Part, Passage, Stage, TextFilter
from polyforge.telemetry.logs import get_logger

_WAYS: Final[dict[Stage, str]] = {"input": "this request", "output": "the answer to this request"}
_log = get_logger(__name__)


class Found(msgspec.Struct, frozen=True):
    """What a guardrail did, for the log of requests; without any text."""

    guardrail: str
    stage: Stage
    action: str
    """`block`, `mask`, `pseudonyms` or `flag` as its policy says, or `error` where it could not judge."""
    kinds: tuple[str, ...] = ()
    count: int = 0


class Passing:
    """The sessions of one call. What it found is in `found`, in the order in which it was."""

    def __init__(self, rules: Sequence[Rule], about: About) -> None:
        self._sessions = [(rule, rule.guardrail.begin(about)) for rule in rules]
        self.found: list[Found] = []

    def judges(self, stage: Stage) -> bool:
        """Whether there is anything to do."""
        return any(stage in rule.stages for rule, _ in self._sessions)

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> list[str] | None:
        """The texts as they are to go on, None: unchanged. GuardrailBlocked, or GuardrailFailed without a judgement."""
        current = list(passages)
        for rule, session in self._order(stage):
            outcome = await self._judge(rule, stage, session.check(stage, current))
            if outcome.texts is not None:
                current = retold(current, outcome.texts)
        texts = texts_of(current)
        return None if texts == texts_of(passages) else texts

    def stream(self) -> StreamGuard:
        """What judges a streamed answer."""
        return StreamGuard(self)

    def filters(self, part: Part) -> "list[tuple[Rule, TextFilter]] | None":
        """What a streamed text of this kind goes through; None where only the whole answer can be judged."""
        found = [(rule, session.filter(part)) for rule, session in self._order("output")]
        ready = [(rule, one) for rule, one in found if one is not None]
        return ready if len(ready) == len(found) else None

    def note(self, rule: Rule, stage: Stage, outcome: Outcome) -> None:
        """Write down what was found; GuardrailBlocked when that must not go on."""
        if not outcome.kinds:
            return
        action = "block" if outcome.blocked else rule.action
        self.found.append(Found(rule.name, stage, action, outcome.kinds, outcome.count))
        if outcome.blocked:
            kinds = ", ".join(outcome.kinds)
            raise GuardrailBlocked(f"the guardrail {rule.name!r} does not let {_WAYS[stage]} through ({kinds})")

    def fail(self, rule: Rule, stage: Stage, error: BaseException) -> None:
        """A guardrail could not judge: GuardrailFailed, unless its policy lets through what it cannot judge."""
        _log.warning("a guardrail failed", guardrail=rule.name, stage=stage, reason=type(error).__name__)
        self.found.append(Found(rule.name, stage, "error"))
        if rule.on_error == "block":
            raise GuardrailFailed(f"the guardrail {rule.name!r} cannot judge {_WAYS[stage]} now", retry_after=1.0)

    def _order(self, stage: Stage) -> list[tuple[Rule, GuardrailSession]]:
        """On the way back the last comes first, so that what was hidden first is put back last."""
        sessions = self._sessions if stage == "input" else reversed(self._sessions)
        return [(rule, session) for rule, session in sessions if stage in rule.stages]

    async def _judge(self, rule: Rule, stage: Stage, judging: Awaitable[Outcome]) -> Outcome:
        try:
            async with asyncio.timeout(rule.timeout):
                outcome = await judging
        except GuardrailBlocked:
            raise
        except Exception as error:  # noqa: BLE001  (an adapter may be anybody's, and what it raises is no judgement)
            self.fail(rule, stage, error)
            return Outcome()
        self.note(rule, stage, outcome)
        return outcome
