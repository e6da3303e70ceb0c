"""Shows what guardrails would do with a text. No model answers it; what guardrails ask models is asked, and charged."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Final

import msgspec

from polyforge.gateway.asking import Asker
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.guardrails.rules import Rule
from polyforge.kernel.errors import GuardrailBlocked, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.ports.guardrail import About, Outcome, Passage, Stage
from polyforge.tenancy.callers import Caller

_ROLES: Final[dict[Stage, str]] = {"input": "user", "output": "assistant"}


class Trial(msgspec.Struct, frozen=True):
    """What one guardrail would do."""

    rule: Rule
    decision: str
    outcome: Outcome
    seconds: float


class Trying:
    """Tries the guardrails that requests pass now."""

    def __init__(self, lineups: Lineups) -> None:
        self._lineups = lineups

    def rules(self) -> tuple[Rule, ...]:
        """All of them, in order."""
        return self._lineups.current.rulebook.rules

    async def trials(
        self, caller: Caller, text: str, names: Sequence[str] | None, stage: Stage, model: str
    ) -> list[Trial]:
        """What each of those named would do at this stage; NotFound for a name that none has."""
        known = {rule.name: rule for rule in self.rules()}
        if names is not None and (unknown := [name for name in names if name not in known]):
            raise NotFound(f"there is no guardrail {unknown[0]!r}")
        chosen = list(known.values()) if names is None else [known[name] for name in names]
        lineup = self._lineups.current
        lineup.calls += 1
        try:
            return [
                await _try(rule, stage, text, _about(lineup, caller, model, rule))
                for rule in chosen
                if stage in rule.stages
            ]
        finally:
            lineup.calls -= 1


def _about(lineup: Lineup, caller: Caller, model: str, rule: Rule) -> About:
    asker = Asker(caller, asyncio.get_running_loop().time() + rule.timeout, judging=True)
    ids = caller.organization_id, caller.project_id, caller.key_id
    return About(new_ulid(), model, *ids, models=lineup.gateway.asking.models(asker))


async def _try(rule: Rule, stage: Stage, text: str, about: About) -> Trial:
    began = perf_counter()
    try:
        async with asyncio.timeout(rule.timeout):
            outcome = await rule.guardrail.begin(about).check(stage, [Passage(text, role=_ROLES[stage])])
    except GuardrailBlocked:
        return Trial(rule, "block", Outcome(blocked=True), perf_counter() - began)
    except Exception:  # noqa: BLE001  (an adapter may be anybody's, and what it raises is no judgement)
        return Trial(rule, "error", Outcome(), perf_counter() - began)
    return Trial(rule, _decision(outcome, text), outcome, perf_counter() - began)


def _decision(outcome: Outcome, text: str) -> str:
    if outcome.blocked:
        return "block"
    if outcome.texts is not None and outcome.texts[0] != text:
        return "change"
    return "flag" if outcome.kinds else "pass"
