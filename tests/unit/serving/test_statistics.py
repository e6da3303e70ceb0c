"""The host's counters as Prometheus and Triton's clients read them."""

from prometheus_client.parser import text_string_to_metric_families

from polyforge.serving.statistics import (
    BatchStatistics,
    ModelReport,
    ModelStatistics,
    prometheus_text,
    triton_statistics,
)

BUSY = ModelReport(
    'odd "name"\n',
    "1",
    ready=True,
    waiting=3,
    counters=ModelStatistics(
        succeeded=10,
        failed=6,
        backend_failed=3,
        timed_out=2,
        rejected=2,
        cancelled=4,
        computed=8,
        rows=30,
        runs=6,
        success_ns=5_000_999,
        compute_ns=4_000_000,
        cache_hits=2,
        cache_hit_ns=9_000,
        cache_misses=8,
        batches={8: BatchStatistics(3, 2_000), 2: BatchStatistics(3, 1_000)},
    ),
)
BROKEN = ModelReport("broken", "1", ready=False, waiting=0, counters=ModelStatistics())


def test_prometheus_reads_every_counter() -> None:
    samples = {
        (sample.name.removesuffix("_total"), sample.labels["model"], sample.labels.get("reason")): sample.value
        for family in text_string_to_metric_families(prometheus_text([BUSY, BROKEN]))
        for sample in family.samples
    }
    name = BUSY.name
    assert samples["nv_inference_request_success", name, None] == 10
    assert samples["nv_inference_request_failure", name, "REJECTED"] == 4
    assert samples["nv_inference_request_failure", name, "CANCELED"] == 4
    assert samples["nv_inference_request_failure", name, "BACKEND"] == 3
    assert samples["nv_inference_request_failure", name, "OTHER"] == 1
    assert samples["nv_cache_num_hits_per_model", name, None] == 2
    assert samples["nv_cache_num_misses_per_model", name, None] == 8
    assert samples["nv_cache_hit_duration_per_model", name, None] == 9
    assert samples["nv_inference_count", name, None] == 30
    assert samples["nv_inference_exec_count", name, None] == 6
    assert samples["nv_inference_request_duration_us", name, None] == 5_000
    assert samples["nv_inference_pending_request_count", name, None] == 3
    assert samples["polyforge_model_ready", name, None] == 1
    assert samples["polyforge_model_ready", "broken", None] == 0


def test_triton_clients_find_their_counts() -> None:
    (stats,) = triton_statistics([BUSY])["model_stats"]
    assert (stats["name"], stats["inference_count"], stats["execution_count"]) == (BUSY.name, 30, 6)
    assert stats["inference_stats"]["success"] == {"count": 10, "ns": 5_000_999}
    assert stats["inference_stats"]["fail"]["count"] == 6
    assert stats["inference_stats"]["compute_infer"] == {"count": 8, "ns": 4_000_000}
    assert stats["inference_stats"]["cache_hit"] == {"count": 2, "ns": 9_000}
    assert [batch["batch_size"] for batch in stats["batch_stats"]] == [2, 8]
    assert stats["batch_stats"][1]["compute_infer"] == {"count": 3, "ns": 2_000}
