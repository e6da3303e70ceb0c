"""What is counted, and the page that shows it."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyforge.kernel.usage import Usage
from polyforge.telemetry.families import (
    COOLING,
    FAMILIES,
    IN_FLIGHT,
    JOURNAL_LAG,
    LOG_DROPPED,
    OTHER,
    REQUESTS,
    Family,
)
from polyforge.telemetry.metrics import Metrics, Observation, describe
from polyforge.telemetry.processes import facts_of
from tests.unit.telemetry.pages import read_page, total, value

USAGE = Usage(input=80, cache_read=20, cache_write=5, output=40)
SECOND = 1_000_000_000


@pytest.fixture(params=["memory", "files"])
def metrics(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Metrics]:
    metrics = Metrics(tmp_path if request.param == "files" else None, "gateway-0", models=["assistant"])
    metrics.open()
    yield metrics
    metrics.close()


def test_one_request_is_counted_everywhere(metrics: Metrics) -> None:
    metrics.for_model("assistant", "openai", "chat").done(
        200, None, 3 * SECOND, 400_000, USAGE, price=1_500_000, cost=30, first_token_ns=SECOND // 4
    )
    page = read_page(metrics.render())
    labels = {"model": "assistant", "provider": "openai", "task": "chat", "status": "200", "error": ""}
    assert value(page, "polyforge_requests_total", **labels) == 1
    assert value(page, "polyforge_request_duration_seconds_sum", model="assistant", task="chat") == 3
    assert value(page, "polyforge_request_duration_seconds_bucket", model="assistant", task="chat", le="2.5") == 0
    assert value(page, "polyforge_request_duration_seconds_bucket", model="assistant", task="chat", le="5.0") == 1
    assert value(page, "polyforge_request_duration_seconds_bucket", model="assistant", task="chat", le="+Inf") == 1
    assert value(page, "polyforge_overhead_seconds_count") == 1
    assert value(page, "polyforge_overhead_seconds_sum") == 0.0004
    assert value(page, "polyforge_time_to_first_token_seconds_bucket", model="assistant", le="0.25") == 1
    assert value(page, "polyforge_tokens_total", model="assistant", direction="input") == 85
    assert value(page, "polyforge_tokens_total", model="assistant", direction="cached") == 20
    assert value(page, "polyforge_tokens_total", model="assistant", direction="output") == 40
    assert value(page, "polyforge_price_usd_total", model="assistant") == 1.5
    assert value(page, "polyforge_cost_usd_total", model="assistant") == 0.00003


def test_values_on_a_bucket_bound_belong_to_it_and_those_above_all_to_the_last(metrics: Metrics) -> None:
    instruments = metrics.for_model("assistant", "openai", "chat")
    for duration in (5_000_000, 5_000_001, 10_000 * SECOND):
        instruments.done(200, None, duration, 0)
    page = read_page(metrics.render())
    buckets = {
        le: value(page, "polyforge_request_duration_seconds_bucket", model="assistant", task="chat", le=le)
        for le in ("0.005", "0.01", "600.0", "+Inf")
    }
    assert buckets == {"0.005": 1, "0.01": 2, "600.0": 2, "+Inf": 3}


def test_errors_are_told_apart(metrics: Metrics) -> None:
    instruments = metrics.for_model("assistant", "openai", "chat")
    instruments.done(429, "rate_limit_exceeded", 1, 1)
    instruments.done(429, "rate_limit_exceeded", 1, 1)
    instruments.done(502, "upstream_error", 1, 1)
    metrics.for_model(None, None, "chat").done(401, "invalid_api_key", 1, 1)
    page = read_page(metrics.render())
    assert total(page, "polyforge_requests_total", error="rate_limit_exceeded", status="429") == 2
    assert total(page, "polyforge_requests_total", error="upstream_error", status="502") == 1
    assert total(page, "polyforge_requests_total", model="none", provider="none", status="401") == 1


def test_gauges_counters_and_attempts(metrics: Metrics) -> None:
    metrics.started()
    metrics.started()
    metrics.finished()
    metrics.counter(LOG_DROPPED).add(3)
    metrics.attempted("openai", "ok")
    metrics.attempted("openai", "timeout")
    metrics.attempted("openai", "timeout")
    page = read_page(metrics.render())
    assert value(page, "polyforge_in_flight") == 1
    assert value(page, "polyforge_log_lines_dropped_total") == 3
    assert value(page, "polyforge_upstream_attempts_total", provider="openai", outcome="timeout") == 2


def test_a_gauge_is_set_and_moved(metrics: Metrics) -> None:
    gauge = metrics.gauge(IN_FLIGHT)
    gauge.set(7)
    gauge.add(-2)
    assert value(read_page(metrics.render()), "polyforge_in_flight") == 5


def test_what_is_read_when_somebody_asks(metrics: Metrics) -> None:
    page = read_page(metrics.render([Observation(COOLING, ("openai", "gpt-4o"), 1), Observation(JOURNAL_LAG, (), 80)]))
    assert value(page, "polyforge_journal_lag_bytes") == 80
    assert value(page, "polyforge_deployment_cooling", provider="openai", deployment="gpt-4o") == 1
    assert value(page, "polyforge_process_start_time_seconds", process="gateway-0") > 1_700_000_000
    assert total(read_page(metrics.render()), "polyforge_deployment_cooling") == 0


def test_the_cpu_and_memory_of_a_process() -> None:
    facts = facts_of(os.getpid())
    assert facts.cpu_seconds is not None
    if os.path.exists("/proc/self/statm"):
        assert facts.resident_bytes is not None
        assert facts.resident_bytes > 1_000_000
        assert facts.open_files is not None
        assert facts.open_files > 2


def test_a_process_that_is_gone_has_no_facts() -> None:
    assert facts_of(2**22 + 1).cpu_seconds is None


def test_models_that_nobody_knows_share_one_series(metrics: Metrics) -> None:
    for number in range(500):
        metrics.for_model(f"junk-{number}", None, "chat", answered=False).done(404, "model_not_found", 1, 1)
    page = read_page(metrics.render())
    assert {dict(pairs)["model"] for name, pairs in page if name == "polyforge_requests_total"} == {OTHER}
    assert total(page, "polyforge_requests_total", status="404") == 500


def test_the_number_of_series_is_bounded_whatever_is_thrown_at_it(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "gateway-0", metric_models=3)
    metrics.open()
    for number in range(300):
        instruments = metrics.for_model(f"model-{number}", f"provider-{number % 40}", "chat")
        instruments.done(200 + number, f"error-{number}", 1, 1, USAGE, 1, 1, 1)
        metrics.attempted(f"provider-{number}", f"outcome-{number}")
        metrics.attempted("p" * 5000, f"{number}-" + "x" * 5000)
    page = read_page(metrics.render())
    models = {dict(pairs)["model"] for _, pairs in page if "model" in dict(pairs)}
    assert models == {"model-0", "model-1", "model-2", OTHER}
    for family in FAMILIES:
        width = len(family.buckets) + 3 if family.kind == "histogram" else 1
        series = sum(1 for name, _ in page if name == family.name or name.startswith(family.name + "_"))
        assert series <= (family.most_series(3) + 1) * width
    assert total(page, "polyforge_requests_total") == 300
    assert total(page, "polyforge_upstream_attempts_total") == 600
    metrics.close()


def test_the_files_cannot_outgrow_their_space(tmp_path: Path) -> None:
    """Labels as long as they can be fill the catalogue before the series are used up; the page stays readable."""
    metrics = Metrics(tmp_path, "gateway-0", metric_models=2)
    metrics.open()
    for number in range(400):
        metrics.cell(REQUESTS, tuple(f"{number}-{part}-" + "\u00e9" * 500 for part in range(5)))
    metrics.for_model("late", "openai", "chat").done(200, None, 1, 1)
    assert read_page(metrics.render())
    metrics.close()


@pytest.mark.parametrize("label", ['a"b', "a\\b", "a\nb", "a b{}=,", "", "\u30e2\u30c7\u30eb", "\ud800"])
def test_any_text_can_be_a_label(label: str) -> None:
    metrics = Metrics(None, "gateway-0")
    metrics.open()
    metrics.attempted(label, "ok")
    page = read_page(metrics.render())
    assert value(page, "polyforge_upstream_attempts_total", provider=label.replace("\ud800", "?"), outcome="ok") == 1


def test_openmetrics_says_the_same(metrics: Metrics) -> None:
    metrics.for_model("assistant", "openai", "chat").done(200, None, SECOND, 1000, USAGE, 1, 1)
    text, openmetrics = metrics.render(), metrics.render(openmetrics=True)
    assert openmetrics.endswith(b"# EOF\n")
    steady = {"polyforge_process_cpu_seconds_total", "polyforge_process_resident_memory_bytes"}
    assert {series: found for series, found in read_page(text).items() if series[0] not in steady} == {
        series: found for series, found in read_page(openmetrics, openmetrics=True).items() if series[0] not in steady
    }


def test_counters_may_be_added_to_from_any_thread(metrics: Metrics) -> None:
    counter = metrics.counter(LOG_DROPPED)

    def add() -> None:
        for _ in range(2000):
            counter.add()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(read_page(metrics.render()), "polyforge_log_lines_dropped_total") == 8000


def test_every_family_is_described_once_and_named_by_the_rules() -> None:
    described = describe()
    assert len({name for name, *_ in described}) == len(described)
    for family in FAMILIES:
        assert family.name.startswith("polyforge_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.help.endswith(".")
        assert bool(family.buckets) == (family.kind == "histogram")
        assert list(family.buckets) == sorted(family.buckets)


def test_a_bound_is_a_promise_about_series() -> None:
    family = Family("polyforge_x_total", "counter", "X.", ("model",), per_model=2, others=5)
    assert family.most_series(10) == 25
