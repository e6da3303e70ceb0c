"""A Triton repository with real graphs, served as it is."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyforge.dialects import oip
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Tensor
from polyforge.serving.inference import Inference
from polyforge.serving.lifecycle.engine import Runs
from polyforge.serving.lifecycle.keeping import MEGABYTE, Lifecycle, Limits
from polyforge.serving.repository import Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.triton.control import ModelControl
from polyforge.serving.triton.showing import configuration_of
from polyforge.wiring.triton import TritonLoader, triton_control
from tests.conformance import onnx_graphs

CHAIN = """
platform: "ensemble" max_batch_size: 4
input { name: "a" data_type: TYPE_FP32 dims: -1 } output { name: "c" data_type: TYPE_FP32 dims: -1 }
ensemble_scheduling {
  step { model_name: "add" model_version: -1 input_map { key: "x" value: "a" } output_map { key: "y" value: "b" } }
  step { model_name: "add" model_version: 1 input_map { key: "x" value: "b" } output_map { key: "y" value: "c" } }
}
"""


class Host:
    """A repository, what controls it, and how to ask."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.repository = Repository([])
        self.scheduler = Scheduler(threads=2, max_queue=10)
        (folder / "scratch").mkdir()
        self.control: ModelControl = triton_control(self.folder, self.repository, self.scheduler, folder / "scratch")

    def write(self, name: str, config: str = "") -> None:
        onnx_graphs.write(self.folder / name / "1", onnx_graphs.add_one())
        if config:
            (self.folder / name / "config.pbtxt").write_text(config)

    async def ask(self, name: str, given: str, *values: float) -> tuple[float, ...]:
        tensor = Tensor(given, "FP32", (1, len(values)), struct.pack(f"<{len(values)}f", *values))
        inference = Inference(self.repository, self.scheduler, max_rows=100, timeout=20)
        answer = await inference.answer(self.repository.find(name), oip.InferRequest({given: tensor}), never)
        return struct.unpack(f"<{len(values)}f", answer.outputs[0].data)


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path)
    host.scheduler.open()
    yield host
    await host.scheduler.close()
    host.repository.close()


async def test_graphs_and_ensembles_of_them_are_served(host: Host) -> None:
    host.write("add")
    (host.folder / "twice").mkdir()
    (host.folder / "twice" / "config.pbtxt").write_text(CHAIN)
    await host.control.load_all()
    assert [(entry.name, entry.state) for entry in host.control.index()] == [("add", "READY"), ("twice", "READY")]
    assert await host.ask("add", "x", 1, 2, 3) == (2, 3, 4)
    assert await host.ask("twice", "a", 1, 2, 3) == (3, 4, 5)
    config = configuration_of(host.repository.find("add"))
    assert (config["backend"], config["max_batch_size"]) == ("onnxruntime", 4)
    assert config["input"][0]["data_type"] == "TYPE_FP32"


async def test_a_graph_that_is_none_is_listed_with_the_reason(host: Host) -> None:
    host.write("add")
    (host.folder / "add" / "1" / "model.onnx").write_bytes(b"no graph")
    await host.control.load_all()
    (entry,) = host.control.index()
    assert (entry.state, "model.onnx" in entry.reason) == ("UNAVAILABLE", True)


async def test_parameters_of_the_engine_are_checked(host: Host) -> None:
    host.write("add", 'parameters { key: "intra_op_thread_count" value { string_value: "all" } }')
    with pytest.raises(Invalid, match="'intra_op_thread_count' must be a whole number"):
        await host.control.load("add")


async def test_models_of_a_repository_leave_the_memory_and_come_back(host: Host) -> None:
    host.write("add")
    host.write("other")
    (host.folder / "twice").mkdir()
    (host.folder / "twice" / "config.pbtxt").write_text(CHAIN)
    # Room for one graph beside the ensemble, which is counted as little as anything can be.
    lifecycle = Lifecycle(host.scheduler, Limits(memory_bytes=2 * MEGABYTE), memory=lambda: 0)
    (host.folder.parent / "more").mkdir()
    control = triton_control(
        host.folder, host.repository, TritonLoader(lifecycle, None), host.folder.parent / "more", Runs()
    )
    await control.load_all()
    assert [(entry.name, entry.state) for entry in control.index()] == [
        ("add", "READY"),
        ("other", "READY"),
        ("twice", "READY"),
    ]
    assert not host.repository.find("add").resident
    inference = Inference(host.repository, host.scheduler, max_rows=10, timeout=20, lifecycle=lifecycle)
    tensor = Tensor("a", "FP32", (1, 3), struct.pack("<3f", 1, 2, 3))
    answer = await inference.answer(host.repository.find("twice"), oip.InferRequest({"a": tensor}), never)
    assert struct.unpack("<3f", answer.outputs[0].data) == (3, 4, 5)
    assert host.repository.find("add").resident
    assert not host.repository.find("other").resident
    await control.load("add")
    await control.unload("other")
    assert [entry.reason for entry in control.index() if entry.name == "other"] == ["unloaded"]


ECHO = """
class Model:
    inputs = {"x": ("FP32", [-1, 3])}
    outputs = {"y": ("FP32", [-1, 3])}

    def predict(self, inputs):
        return {"y": inputs["x"] * 2}
"""


async def test_a_model_in_python_is_served_from_the_repository_and_not_from_a_request(host: Host) -> None:
    (host.folder / "echo" / "1").mkdir(parents=True)
    (host.folder / "echo" / "1" / "model.py").write_text(ECHO)
    parameters = 'parameters { key: "run_seconds" value { string_value: "30" } }'
    (host.folder / "echo" / "config.pbtxt").write_text(parameters + "instance_group { count: 2 }")
    await host.control.load("echo")
    assert await host.ask("echo", "x", 1, 2, 3) == (2, 4, 6)
    model = host.repository.find("echo")
    assert (model.signature.elsewhere, model.signature.instances) == (True, 2)
    assert configuration_of(model)["backend"] == "python"
    with pytest.raises(Invalid, match="its files are a program"):
        await host.control.load("new", {"config": '{"backend": "python"}', "file:1/model.py": ECHO.encode()})
    (host.folder / "echo" / "config.pbtxt").write_text(parameters + "sequence_batching { }")
    with pytest.raises(Invalid, match="its class must say `stateful = True`"):
        await host.control.load("echo")
    assert await host.ask("echo", "x", 1, 2, 3) == (2, 4, 6)
