"""What a Triton configuration says of queues, instances and the cache is what the scheduler does."""

import asyncio
import struct
from pathlib import Path

import pytest

from polyforge.dialects.oip import InferRequest
from polyforge.kernel.errors import Invalid
from polyforge.serving.plan import Plan, QueuePolicy
from polyforge.serving.triton.layout import TritonRepository
from polyforge.serving.triton.planning import planned
from tests.unit.serving.triton.engines import BACKENDS, floats, write_model
from tests.unit.serving.triton.hosts import ENSEMBLE, IO, TritonHost


def plan_of(tmp_path: Path, config: str) -> Plan:
    write_model(tmp_path, "m", IO + config)
    return planned(TritonRepository(tmp_path, BACKENDS).read("m").config, Plan(instances=7, batch_rows=4))


def test_every_word_of_dynamic_batching_has_its_place(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        """
        dynamic_batching {
          preferred_batch_size: [ 4, 2 ] priority_levels: 3 default_priority_level: 2
          default_queue_policy { max_queue_size: 9 }
          priority_queue_policy { key: 3 value {
            timeout_action: DELAY default_timeout_microseconds: 500 allow_timeout_override: true } }
        }
        instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 kind: KIND_CPU } ]
        response_cache { enable: true }
        """,
    )
    assert plan == Plan(
        instances=3,
        batch_rows=4,
        preferred_rows=(2, 4),
        levels=3,
        default_level=2,
        policy=QueuePolicy(max_queue=9, allow_timeout_override=False),
        level_policies={3: QueuePolicy(0, 500, allow_timeout_override=True, timeout_action="DELAY")},
        cached=True,
    )


def test_what_is_not_said_stays(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "instance_group [ { count: 2 kind: KIND_GPU } ]")
    assert (plan.instances, plan.batch_rows, plan.levels, plan.cached, plan.keep_order) == (7, 4, 0, False, False)


@pytest.mark.parametrize(
    ("batching", "complaint"),
    [
        ("priority_levels: 2 default_priority_level: 1", "Only one priority level is allowed"),
        (
            "default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 }",
            "can not have DELAY as timeout action",
        ),
    ],
)
def test_an_order_that_cannot_be_kept_is_refused(tmp_path: Path, batching: str, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        plan_of(tmp_path, f"dynamic_batching {{ preserve_ordering: true {batching} }}")


async def test_a_loaded_model_is_run_by_its_configuration(tmp_path: Path) -> None:
    host = TritonHost(tmp_path)
    write_model(
        host.folder,
        "m",
        IO + "dynamic_batching { preserve_ordering: true } instance_group [ { count: 1 kind: KIND_CPU } ]",
    )
    host.scheduler.open()
    await host.control.load_all()
    model = host.repository.find("m")
    assert (model.plan.instances, model.plan.keep_order, model.plan.batch_rows) == (1, True, 4)
    await host.scheduler.close()


async def stays() -> None:
    await asyncio.Event().wait()


async def test_equal_requests_are_answered_from_the_cache_and_counted(tmp_path: Path) -> None:
    host = TritonHost(tmp_path, cache_bytes=10_000)
    write_model(host.folder, "m", IO + "response_cache { enable: true }")
    host.scheduler.open()
    await host.control.load_all()
    model = host.repository.find("m")
    asked = InferRequest({"x": floats("x", 1, 4)})
    answers = [await host.app.inference.answer(model, asked, stays) for _ in range(3)]
    assert len({bytes(answer.outputs[0].data) for answer in answers}) == 1
    ((engine,),) = host.engines.values()
    assert len(engine.requests) == 1
    (stats,) = host.app.statistics("m", None)["model_stats"]
    assert stats["inference_stats"]["cache_hit"]["count"] == 2
    assert stats["inference_stats"]["cache_miss"]["count"] == 1
    assert (stats["inference_stats"]["success"]["count"], stats["inference_count"], stats["execution_count"]) == (
        3,
        1,
        1,
    )
    await host.scheduler.close()


async def test_an_ensemble_s_answers_are_kept_until_one_of_its_models_is_loaded_anew(tmp_path: Path) -> None:
    host = TritonHost(tmp_path, cache_bytes=10_000)
    for name in ("first", "second"):
        write_model(host.folder, name, IO)
    write_model(host.folder, "both", ENSEMBLE + "response_cache { enable: true }", versions=())
    outer = ENSEMBLE.replace('"second"', '"both"').replace('key: "x" value: "b"', 'key: "a" value: "b"')
    write_model(host.folder, "more", outer.replace('key: "y" value: "c"', 'key: "c" value: "c"'), versions=())
    host.scheduler.open()
    await host.control.load_all()

    added = {"both": 2, "more": 3}

    async def ask(name: str, count: int) -> None:
        asked = InferRequest({"a": floats("a", 1, 4)})
        for _ in range(count):
            answered = await host.app.inference.answer(host.repository.find(name), asked, stays)
            assert struct.unpack("<4f", answered.outputs[0].data) == tuple(range(added[name], added[name] + 4))

    def counted(name: str) -> tuple[int, int, int, int]:
        (stats,) = host.app.statistics(name, None)["model_stats"]
        each = stats["inference_stats"]
        return (
            each["success"]["count"],
            each["cache_hit"]["count"],
            each["cache_miss"]["count"],
            stats["inference_count"],
        )

    await ask("both", 3)
    assert (counted("both"), counted("first")) == ((3, 2, 1, 1), (1, 0, 0, 1))
    await host.control.load("second")
    await ask("both", 2)
    assert (counted("both"), counted("first")) == ((5, 3, 2, 2), (2, 0, 0, 2))
    # One that does not ask for it asks its models each time; the ensemble among them has its own answers.
    await ask("more", 2)
    assert (counted("more"), counted("both")) == ((2, 0, 0, 2), (7, 4, 3, 3))
    await host.control.load("both")
    await ask("both", 1)
    assert counted("both") == (8, 4, 4, 4)
    await host.scheduler.close()


async def test_an_ensemble_with_a_model_that_keeps_state_is_asked_each_time(tmp_path: Path) -> None:
    host = TritonHost(tmp_path, cache_bytes=10_000)
    for name in ("first", "second"):
        write_model(host.folder, name, IO)
    write_model(host.folder, "both", ENSEMBLE + "response_cache { enable: true }", versions=())
    host.stateful = True
    host.scheduler.open()
    await host.control.load_all()
    model = host.repository.find("both")
    asked = InferRequest({"a": floats("a", 1, 4)}, parameters={"sequence_id": 1, "sequence_start": True})
    for _ in range(2):
        await host.app.inference.answer(model, asked, stays)
    assert [len(engine.requests) for engines in host.engines.values() for engine in engines] == [2, 2]
    await host.scheduler.close()
