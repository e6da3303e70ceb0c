"""Models of a repository are loaded, loaded anew and unloaded while the host answers."""

import asyncio
import json
import struct
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from polyforge.dialects import oip
from polyforge.kernel.errors import Invalid, ModelNotFound, PolyforgeError, Unavailable
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelBackend, ModelRequest, Outputs, Signature
from polyforge.serving.inference import Inference
from polyforge.serving.repository import HostedModel
from polyforge.serving.triton.control import MAX_FAILURES
from polyforge.serving.triton.layout import TritonModel
from tests.support.waiting import eventually_async
from tests.unit.serving.backends import Adder, hosted
from tests.unit.serving.triton.engines import Engine, floats, write_model
from tests.unit.serving.triton.hosts import ENSEMBLE, IO, TritonHost, plus_one


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[TritonHost]:
    host = TritonHost(tmp_path)
    host.scheduler.open()
    yield host
    await host.scheduler.close()


async def never() -> None:
    await asyncio.Event().wait()


async def answer(host: TritonHost, name: str, given: str = "x", version: str | None = None) -> tuple[float, ...]:
    inference = Inference(host.repository, host.scheduler, max_rows=100, timeout=20)
    model = host.repository.find(name, version)
    answered = await inference.answer(model, oip.InferRequest({given: floats(given, 1, 4)}), never)
    (tensor,) = answered.outputs
    return struct.unpack("<4f", tensor.data)


async def test_a_model_is_listed_before_it_is_loaded_and_after_it_is_unloaded(host: TritonHost) -> None:
    write_model(host.folder, "m", IO)
    assert host.states() == [("m", "", "")]
    await host.control.load("m")
    assert host.states() == [("m", "1", "READY")]
    assert await answer(host, "m") == (1, 2, 3, 4)
    await host.control.unload("m")
    assert host.states() == [("m", "1", "UNAVAILABLE")]
    assert [engine.closed for engine in host.engines["m", 1]] == [True]
    with pytest.raises(Unavailable, match="unloaded"):
        await answer(host, "m")
    await host.control.load("m")
    assert await answer(host, "m") == (1, 2, 3, 4)


async def test_a_new_version_takes_over_and_the_old_one_answers_what_it_was_asked(host: TritonHost) -> None:
    write_model(host.folder, "m", IO)
    await host.control.load("m")
    old = host.repository.find("m")
    write_model(host.folder, "m", IO, versions=(2,))
    asked = [asyncio.ensure_future(answer(host, "m")) for _ in range(20)]
    await host.control.load("m")
    assert await asyncio.gather(*asked) == [(1, 2, 3, 4)] * 20
    assert host.states() == [("m", "2", "READY")]
    assert (old.state, host.engines["m", 1][0].closed) == ("UNAVAILABLE", True)
    with pytest.raises(ModelNotFound, match="version 1 is not found"):
        await answer(host, "m", version="1")


async def test_loading_the_same_version_anew_keeps_its_counters(host: TritonHost) -> None:
    write_model(host.folder, "m", IO)
    await host.control.load("m")
    await answer(host, "m")
    await host.control.load("m")
    assert [engine.closed for engine in host.engines["m", 1]] == [True, False]
    assert host.repository.find("m").statistics.succeeded == 1


async def test_a_load_goes_on_when_whoever_asked_for_it_hangs_up(host: TritonHost) -> None:
    write_model(host.folder, "m", IO)
    await host.control.load("m")
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Engine):
        def load(self) -> None:
            begun.set()
            go_on.wait()

    def slow_engine(model: TritonModel, version: int) -> ModelBackend:
        engine = Slow(compute=plus_one)
        host.engines[model.name, version].append(engine)
        return engine

    host.control._make_engine = slow_engine
    asked = [asyncio.create_task(host.control.load("m")) for _ in range(2)]
    await eventually_async(begun.is_set, "the first load has begun, the second waits for its turn")
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    go_on.set()
    await host.control.unload("m")
    # The load had its way before the next change, and the one that had not begun never did.
    assert [engine.closed for engine in host.engines["m", 1]] == [True, True]
    assert host.states() == [("m", "1", "UNAVAILABLE")]


async def test_a_load_that_fails_leaves_what_was_there(host: TritonHost) -> None:
    folder = write_model(host.folder, "m", IO)
    await host.control.load("m")
    (folder / "config.pbtxt").write_text(IO.replace("dims: 4", "dims: 5"))
    with pytest.raises(Invalid, match="failed to load 'm', no version is available"):
        await host.control.load("m")
    assert await answer(host, "m") == (1, 2, 3, 4)
    assert [engine.closed for engine in host.engines["m", 1]] == [False, True]


async def test_what_cannot_be_loaded_is_listed_with_the_reason_and_harms_no_other(host: TritonHost) -> None:
    write_model(host.folder, "bad", "colour: 1")
    write_model(host.folder, "unfit", IO.replace("TYPE_FP32", "TYPE_INT8"))
    (write_model(host.folder, "broken", IO) / "1" / "model.onnx").write_bytes(b"broken")
    write_model(host.folder, "good", IO)
    await host.control.load_all()
    entries = {entry.name: entry for entry in host.control.index()}
    assert {name: entry.state for name, entry in entries.items()} == {
        "bad": "UNAVAILABLE", "unfit": "UNAVAILABLE", "broken": "UNAVAILABLE", "good": "READY",
    }  # fmt: skip
    assert "ModelConfig has no field 'colour'" in entries["bad"].reason
    assert "expects datatype TYPE_INT8" in entries["unfit"].reason
    assert entries["broken"].reason == "model.onnx: is no graph"
    assert [entry.name for entry in host.control.index(only_ready=True)] == ["good"]


async def test_one_version_of_several_may_fail(host: TritonHost) -> None:
    folder = write_model(host.folder, "m", IO + "version_policy { all {} }", versions=(1, 2))
    await host.control.load("m")
    assert host.states() == [("m", "1", "READY"), ("m", "2", "READY")]
    assert host.repository.find("m").version == "2"
    assert await answer(host, "m", version="1") == (1, 2, 3, 4)
    (folder / "config.pbtxt").write_text(IO + "version_policy { specific { versions: 1 } }")
    await host.control.load("m")
    assert host.states() == [("m", "1", "READY")]


async def test_an_ensemble_loads_what_it_is_made_of_and_may_unload_it(host: TritonHost) -> None:
    for name in ("first", "second"):
        write_model(host.folder, name, IO)
    write_model(host.folder, "both", ENSEMBLE, versions=())
    await host.control.load("both")
    assert await answer(host, "both", "a") == (2, 3, 4, 5)
    assert [model.statistics.rows for model in host.repository] == [1, 1, 1]
    await host.control.unload("second")
    states = {entry.name: (entry.state, entry.reason) for entry in host.control.index()}
    assert states["both"] == ("UNAVAILABLE", "'second', which it is made of, is not ready")
    assert [entry.name for entry in host.control.index(only_ready=True)] == ["first"]
    with pytest.raises(Unavailable, match="model 'second' is not ready: unloaded"):
        await answer(host, "both", "a")
    await host.control.load("second")
    assert await answer(host, "both", "a") == (2, 3, 4, 5)
    await host.control.unload("both", dependents=True)
    assert {state for _, _, state in host.states()} == {"UNAVAILABLE"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('model_name: "second"', 'model_name: "third"'), "failed to load 'third'"),
        (('model_name: "second"', 'model_name: "both"'), "is made of itself"),
        (('value: "c"', 'value: "b"'), "'b' is given by more than one step"),
        (('value: "c"', 'value: "d"'), "'c' is given by no step"),
        (('key: "x" value: "b"', 'key: "z" value: "b"'), "the input 'x' is not mapped"),
        (('key: "y" value: "c"', 'key: "z" value: "c"'), "'z' is no tensor of model 'second'"),
        (('name: "a" data_type: TYPE_FP32', 'name: "a" data_type: TYPE_INT8'), "inconsistent data type"),
        (('name: "a" data_type: TYPE_FP32 dims: 4', 'name: "a" data_type: TYPE_FP32 dims: 3'), "inconsistent shape"),
        (("max_batch_size: 4", "max_batch_size: 8"), "which only allows maximum batch size to be 4"),
        (('key: "x" value: "a"', 'key: "x" value: "c"'), "circular dependency"),
    ],
)
async def test_an_ensemble_that_does_not_fit_says_where(
    host: TritonHost, change: tuple[str, str], complaint: str
) -> None:
    for name in ("first", "second"):
        write_model(host.folder, name, IO)
    write_model(host.folder, "both", ENSEMBLE.replace(*change), versions=())
    with pytest.raises((Invalid, ModelNotFound)) as caught:
        await host.control.load("both")
    assert complaint in caught.value.message


async def test_a_step_that_fails_is_the_error_of_the_ensemble(host: TritonHost) -> None:
    for name in ("first", "second"):
        write_model(host.folder, name, IO)
    write_model(host.folder, "both", ENSEMBLE, versions=())
    await host.control.load("both")
    await host.control.unload("second")
    with pytest.raises(Unavailable, match="model 'second' is not ready: unloaded"):
        await answer(host, "both", "a")
    assert host.repository.find("both").statistics.failed == 1


async def test_a_model_may_come_with_the_request(host: TritonHost) -> None:
    config = json.dumps({"backend": "onnxruntime", "max_batch_size": 8})
    await host.control.load("new", {"config": config, "file:1/model.onnx": b"graph"})
    assert await answer(host, "new") == (1, 2, 3, 4)
    assert len(list(host.scratch.iterdir())) == 1
    await host.control.load("new", {"config": config, "file:2/model.onnx": b"graph"})
    assert host.states() == [("new", "2", "READY")]
    assert len(list(host.scratch.iterdir())) == 1
    await host.control.unload("new")
    assert not list(host.scratch.iterdir())


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"file:1/model.onnx": b"graph"}, "files come with a 'config' parameter"),
        ({"config": "{}", "file:../m/1/model.onnx": b"graph"}, "is no path in the model's folder"),
        ({"config": "{}", "file:/etc/x": b"graph"}, "is no path in the model's folder"),
        ({"config": "{}", "file:": b"graph"}, "is no path in the model's folder"),
        ({"config": "{}", "file:1": b"graph", "file:1/model.onnx": b"graph"}, "cannot be written"),
        ({"config": "{", "file:1/model.onnx": b"graph"}, "is no JSON"),
        ({"config": "{}", "file:1/model.onnx": b"broken"}, "is no graph"),
        ({"config": 3}, "unrecognized load parameter 'config'"),
        ({"colour": "red"}, "unrecognized load parameter 'colour'"),
    ],
)
async def test_requests_to_load_that_make_no_sense(
    host: TritonHost, parameters: dict[str, object], complaint: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await host.control.load("new", parameters)
    assert complaint in caught.value.message
    assert not list(host.scratch.iterdir())


@pytest.mark.parametrize("name", ["n" * 256, "ä" * 128])
async def test_a_name_that_no_disk_has_is_refused(host: TritonHost, name: str) -> None:
    with pytest.raises(Invalid, match="at most 255 bytes"):
        await host.control.load(name)
    assert len(host.control.index()) == 0


async def test_names_that_are_made_up_are_not_all_kept(host: TritonHost) -> None:
    for number in range(MAX_FAILURES + 10):
        with pytest.raises(ModelNotFound):
            await host.control.load(f"made-up-{number}")
    kept = [entry.name for entry in host.control.index()]
    assert len(kept) == MAX_FAILURES
    assert f"made-up-{MAX_FAILURES + 9}" in kept


@pytest.mark.parametrize("name", ["\\000", "n" * 300])
@pytest.mark.parametrize("field", ["default_model_filename", "label_filename"])
async def test_files_that_no_disk_has_harm_no_other_model(host: TritonHost, field: str, name: str) -> None:
    named = f'{field}: "{name}"'
    config = IO + named if field == "default_model_filename" else IO.replace('name: "y"', f'name: "y" {named}')
    write_model(host.folder, "bad", config)
    write_model(host.folder, "good", IO)
    await host.control.load_all()
    states = {entry.name: entry.state for entry in host.control.index()}
    assert states == {"bad": "UNAVAILABLE", "good": "READY"}


class Renamed(Engine):
    """Its output has another name."""

    @property
    def signature(self) -> Signature:
        return msgspec.structs.replace(super().signature, outputs=(TensorSpec("z", "FP32", (-1, 4)),))

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        return [(msgspec.structs.replace(request.inputs["x"], name="z"),) for request in batch]


@pytest.mark.parametrize("changed", ["first", "second"])
async def test_an_ensemble_whose_model_came_back_with_another_output_says_so(host: TritonHost, changed: str) -> None:
    for name in ("first", "second"):
        write_model(host.folder, name, IO)
    write_model(host.folder, "both", ENSEMBLE, versions=())
    await host.control.load("both")
    other = HostedModel(changed, Renamed(), "1")
    await host.scheduler.load(other)
    host.repository.put(other)
    with pytest.raises(Unavailable, match="ensemble 'both': 'c' is given by no step any more"):
        await answer(host, "both", "a")


async def test_models_of_others_are_left_alone(host: TritonHost) -> None:
    host.repository.put(hosted(Adder(), "ours"))
    write_model(host.folder, "ours", IO)
    with pytest.raises(Invalid, match="not of the repository"):
        await host.control.load("ours")
    with pytest.raises(Invalid, match="not of the repository"):
        await host.control.unload("ours")
    with pytest.raises(ModelNotFound):
        await host.control.unload("nobody")
