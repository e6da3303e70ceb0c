"""A host over a Triton repository whose engines are ours."""

import struct
from pathlib import Path

from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Tensor
from polyforge.ports.model_backend import ModelBackend
from polyforge.serving.api import OipApp
from polyforge.serving.repository import Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.triton.control import ModelControl
from polyforge.serving.triton.layout import TritonModel, TritonRepository
from tests.unit.serving.triton.engines import BACKENDS, Engine

IO = """
backend: "onnxruntime" max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""
ENSEMBLE = """
platform: "ensemble" max_batch_size: 4
input { name: "a" data_type: TYPE_FP32 dims: 4 }
output { name: "c" data_type: TYPE_FP32 dims: 4 }
ensemble_scheduling {
  step { model_name: "second" model_version: -1 input_map { key: "x" value: "b" } output_map { key: "y" value: "c" } }
  step { model_name: "first" model_version: -1 input_map { key: "x" value: "a" } output_map { key: "y" value: "b" } }
}
"""


def plus_one(tensor: Tensor) -> Tensor:
    values = struct.unpack(f"<{tensor.count}f", tensor.data)
    return Tensor("y", "FP32", tensor.shape, struct.pack(f"<{tensor.count}f", *(value + 1 for value in values)))


class TritonHost:
    """Everything of a host but its sockets. An engine whose file says `broken` cannot be loaded."""

    def __init__(self, folder: Path, *, cache_bytes: int = 0) -> None:
        self.stateful = False
        self.engines: dict[tuple[str, int], list[Engine]] = {}
        self.repository = Repository([])
        self.scheduler = Scheduler(threads=2, max_queue=100, cache_bytes=cache_bytes)
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        self.folder = folder / "models"
        self.folder.mkdir()
        self.control = ModelControl(
            TritonRepository(self.folder, BACKENDS),
            self.repository,
            self.scheduler,
            self.make_engine,
            backends=BACKENDS,
            scratch=scratch,
        )
        self.scratch = scratch
        self.app = OipApp(self.repository, self.scheduler, version="9", max_rows=100, timeout=20, control=self.control)

    def make_engine(self, model: TritonModel, version: int) -> ModelBackend:
        if model.file(version).read_bytes() == b"broken":
            raise Invalid(f"{model.config.default_model_filename}: is no graph")
        engine = Engine(compute=plus_one, stateful=self.stateful)
        self.engines.setdefault((model.name, version), []).append(engine)
        return engine

    def states(self) -> list[tuple[str, str, str]]:
        return [(entry.name, entry.version, entry.state) for entry in self.control.index()]
