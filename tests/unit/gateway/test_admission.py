"""Admission: what a job reserves, and of which period."""

from pathlib import Path
from typing import Any

import pytest

from polyforge.gateway.admission import Admission
from polyforge.gateway.job import Job
from polyforge.gateway.settings import GatewaySettings
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import BudgetSpent
from polyforge.kernel.tasks import InferenceRequest
from polyforge.registry.catalog import Deployment, Model
from polyforge.registry.tariffs import Tariff
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller, KeyLimits
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import NOTHING_SPENT, Balance
from tests.unit.limits.limit_samples import opened

MIDNIGHT = 1_700_006_400.0
PRICE = Tariff(per_call=1)


class _NoLimits:
    """Stands for limits where there are none."""

    any = False
    book: Any

    def __init__(self) -> None:
        self.book = self


async def _nothing(_key: str, _period: int) -> Balance:
    return NOTHING_SPENT


def job(id_: str, started_at: float) -> Job:
    limits = KeyLimits(budget=2, period="day")
    caller = Caller("k" * 26, "k", "o", "p", frozenset(), limits=limits)
    model = Model("m", "chat", (Deployment(0, "p0", "m", 1, 0, None, None, PRICE, PRICE),))
    return Job(
        id_, caller, InferenceRequest("chat", "openai", "m", b"{}", output_limit=1), model, Hops(), started_at, 9e9
    )


async def test_a_call_that_arrives_late_begins_no_earlier_period(tmp_path: Path) -> None:
    counters, journal = opened(tmp_path), Journal(tmp_path, "0" * 26, 0, 1)
    journal.open()
    limiting: Any = _NoLimits()
    admission = Admission(GatewaySettings(), counters, limiting, journal, _nothing, FakeClock(MIDNIGHT))
    jobs = [job("a", MIDNIGHT + 1), job("b", MIDNIGHT - 1), job("c", MIDNIGHT + 2)]
    await admission.admit(jobs[0])
    await admission.admit(jobs[1])
    assert jobs[1].period == jobs[0].period == int(MIDNIGHT)
    with pytest.raises(BudgetSpent):
        await admission.admit(jobs[2])
    journal.close()
    counters.close()
