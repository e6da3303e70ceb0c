"""Guardrails of the installation over texts of flows, in the name of who runs them."""

import asyncio
from collections.abc import Sequence
from typing import Final

from polyforge.flows.running.contract import Verdict
from polyforge.gateway.asking import Asker
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.guardrails.passing import Passing
from polyforge.guardrails.rules import Rule
from polyforge.kernel.errors import GuardrailBlocked, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.ports.guardrail import About, Passage, Stage
from polyforge.tenancy.callers import Caller

_ROLES: Final[dict[Stage, str]] = {"input": "user", "output": "assistant"}


class FlowGuardrails:
    """The guardrails that are declared when a text is checked."""

    def __init__(self, lineups: Lineups) -> None:
        self._lineups = lineups

    async def check(self, caller: Caller, names: Sequence[str], text: str, direction: Stage) -> Verdict:
        """What they say of a text, in their order, as one that goes in this direction where they judge such ones.

        NotFound for a name that none has, GuardrailFailed where one cannot judge and lets nothing through then.
        """
        lineup = self._lineups.current
        rules = [rule for rule in lineup.rulebook.rules if rule.name in names]
        if unknown := sorted(set(names) - {rule.name for rule in rules}):
            raise NotFound(f"there is no guardrail {unknown[0]!r}; see GET /api/v1/guardrails", param="guardrail")
        lineup.calls += 1
        try:
            return await _judged(lineup, caller, rules, text, direction)
        finally:
            lineup.calls -= 1


async def _judged(lineup: Lineup, caller: Caller, rules: Sequence[Rule], text: str, direction: Stage) -> Verdict:
    kinds = dict[str, None]()
    for rule in rules:
        stage = direction if direction in rule.stages else next(iter(rule.stages))
        passing = Passing((rule,), _about(lineup, caller, rule))
        try:
            changed = await passing.check(stage, [Passage(text, role=_ROLES[stage])])
        except GuardrailBlocked:
            kinds |= dict.fromkeys(kind for found in passing.found for kind in found.kinds)
            return Verdict(passed=False, text=text, kinds=tuple(kinds) or (rule.name,))
        kinds |= dict.fromkeys(kind for found in passing.found for kind in found.kinds)
        text = text if changed is None else changed[0]
    return Verdict(passed=True, text=text, kinds=tuple(kinds))


def _about(lineup: Lineup, caller: Caller, rule: Rule) -> About:
    asker = Asker(caller, asyncio.get_running_loop().time() + rule.timeout, judging=True)
    ids = caller.organization_id, caller.project_id, caller.key_id
    return About(new_ulid(), "", *ids, models=lineup.gateway.asking.models(asker))
