"""The figures of guardrails are those of all that we ship and that work here."""

import pkgutil

import pytest

from benchmarks.guardrails import Cost, cost_of, rules, table
from polyforge.adapters import guardrails

CALL_SERVERS = {"http", "classifier"}


def test_every_guardrail_that_works_here_is_measured() -> None:
    shipped = {module.name for module in pkgutil.iter_modules(guardrails.__path__)}
    assert {name.partition(",")[0] for name in rules()} == (shipped - CALL_SERVERS) | {"none"}


@pytest.mark.parametrize("name", rules())
async def test_each_can_be_measured(name: str) -> None:
    found, text = rules()[name]
    cost = await cost_of(found, text, 1)
    assert min(cost.text, cost.piece) > 0


def test_figures_are_microseconds() -> None:
    assert table({"length": Cost(0.00012, 0.0000015)}).splitlines()[-1] == "| length | 120 | 1.5 |"
