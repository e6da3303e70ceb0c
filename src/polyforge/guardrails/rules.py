"""Guardrails as they are set: which there are, and which of them a call has to pass."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from polyforge.ports.guardrail import Action, Guardrail, Stage
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.catalog import Model
from polyforge.tenancy.callers import Caller

OnError = Literal["block", "allow"]
"""What becomes of a call that a guardrail could not judge."""


class Rule(msgspec.Struct, frozen=True):
    """One guardrail with the policy around it."""

    name: str
    use: str
    """The adapter's name."""
    guardrail: Guardrail
    stages: frozenset[Stage]
    action: Action
    on_error: OnError = "block"
    timeout: float = 5.0
    """Seconds that one check may take."""
    always: bool = False
    """Whether every call has to pass it, whatever its model."""


class Rulebook:
    """The guardrails of an installation, in the order in which they were declared."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._found: dict[tuple[str, ...], tuple[Rule, ...]] = {}
        self.any = bool(rules)
        """Whether there is one at all; asked before anything else."""

    def find(self, caller: Caller, model: Model) -> tuple[Rule, ...]:
        """What a call has to pass, in order."""
        del caller  # Guardrails of projects and keys are kept beside these.
        named = model.guardrails
        found = self._found.get(named)
        if found is None:
            found = tuple(rule for rule in self.rules if rule.always or rule.name in named)
            self._found[named] = found
        return found

    async def open(self, secrets: SecretSource) -> None:
        """Get them all ready."""
        for rule in self.rules:
            await rule.guardrail.open(secrets)

    async def close(self) -> None:
        """Let go of what they hold."""
        for rule in self.rules:
            await rule.guardrail.close()
