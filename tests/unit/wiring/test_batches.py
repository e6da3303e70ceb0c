"""What batches see of the callers that gateways are answering, and how they make room for them."""

from pathlib import Path

import pytest

from polyforge.batch.batches.pace import Pace
from polyforge.kernel.clock import FakeClock
from polyforge.telemetry.metrics import Metrics
from polyforge.wiring import batches
from polyforge.wiring.batches import InteractiveCalls
from tests.support.waiting import eventually_async


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks has somebody look."""
    monkeypatch.setattr(batches, "_LOOK_SECONDS", 0.0)


async def test_a_batch_leaves_the_places_of_callers_of_every_gateway(tmp_path: Path) -> None:
    gateways = [Metrics(tmp_path, f"gateway-{number}") for number in range(2)]
    for gateway in gateways:
        gateway.open()
    calls = InteractiveCalls(tmp_path)
    pace = Pace(8, calls.count, FakeClock().monotonic)
    for _ in range(500):
        pace.went_through()
    assert pace.allowed == 8
    for gateway, count in zip(gateways, (2, 3), strict=True):
        for _ in range(count):
            gateway.started()
    await eventually_async(lambda: pace.allowed == 3, "room for five callers")
    for _ in range(3):
        gateways[1].finished()
    await eventually_async(lambda: pace.allowed == 6, "room for two callers")
    for gateway in gateways:
        gateway.close()


async def test_where_nobody_counts_nobody_is_waited_for(tmp_path: Path) -> None:
    calls = InteractiveCalls(tmp_path / "absent")
    assert calls.count() == 0
    await eventually_async(lambda: calls._looking is not None and calls._looking.done(), "a look")
    assert calls.count() == 0
