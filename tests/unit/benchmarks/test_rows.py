"""The trials play what they say: tried on a gateway that is the upstream itself."""

from collections.abc import Callable, Iterator

import pytest

from benchmarks.scorecard.gateways import Gateway, Services
from benchmarks.scorecard.hearing import Caller
from benchmarks.scorecard.judging import NotOffered, Unclear
from benchmarks.scorecard.rows import MODELS, ROWS, Row, Stage
from benchmarks.targets import Direct
from tests.support.upstream import Upstream

BY_NAME = {row.name: row for row in ROWS}


class Nothing(Gateway):
    """What a caller gets without any gateway."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.services.upstream.port}"

    def caller(self) -> Caller:
        return Caller(self.url, {"authorization": "Bearer sk-somebody"}, self.dress)

    def metered(self, model: str) -> tuple[int, int] | None:
        return None

    def budgeted(self, calls: int) -> Caller:
        raise NotOffered("no budgets")

    def revocable(self) -> tuple[Caller, Callable[[], None]]:
        return self.caller(), lambda: None

    def tenants(self) -> tuple[Caller, Caller]:
        return self.caller(), self.caller()


@pytest.fixture
def stage() -> Iterator[Stage]:
    upstream, guard = Upstream().start(), Upstream().start()
    yield Stage(Nothing(Services(upstream, guard.url, guard.url, MODELS), Direct()), upstream, guard)
    upstream.stop()
    guard.stop()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stream-truncated", "right"),
        ("stream-unfinished", "wrong"),
        ("malformed-chunk", "wrong"),
        ("retry-after", "right"),
        ("disconnect-waiting", "right"),
        ("disconnect-first-chunk", "right"),
        ("disconnect-mid-stream", "right"),
        ("usage-unasked", "wrong"),
        ("pii-split", "wrong"),
    ],
)
def test_the_verdict_on_no_gateway_at_all(name: str, expected: str, stage: Stage) -> None:
    judged = BY_NAME[name].trial(stage)
    assert judged.verdict == expected, judged.observed


@pytest.mark.parametrize("name", ["cross-tenant-cache", "budget-race"])
def test_what_is_not_there_is_not_offered(name: str, stage: Stage) -> None:
    with pytest.raises(NotOffered):
        BY_NAME[name].trial(stage)


def test_a_guardrail_that_never_asks_tells_nothing(stage: Stage) -> None:
    with pytest.raises(Unclear):
        BY_NAME["guardrail-error"].trial(stage)


def test_every_model_belongs_to_one_row() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)
    assert len(BY_NAME) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_says_what_is_right(row: Row) -> None:
    assert row.title
    assert row.right.endswith(".")
