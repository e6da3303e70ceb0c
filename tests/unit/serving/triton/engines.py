"""An engine that tests can shape: it says what it takes, and answers with what it was given."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

BACKENDS = ("onnxruntime",)


def floats(name: str, *shape: int) -> Tensor:
    count = 1
    for extent in shape:
        count *= extent
    return Tensor(name, "FP32", shape, struct.pack(f"<{count}f", *range(count)))


class Engine:
    """FP32 `x` to FP32 `y` by `compute`; remembers every request."""

    def __init__(
        self,
        taken: Sequence[int] = (-1, 4),
        given: Sequence[int] = (-1, 4),
        *,
        batch_rows: int = 8,
        compute: Callable[[Tensor], Tensor] | None = None,
        stateful: bool = False,
    ) -> None:
        self._signature = Signature(
            "onnxruntime_onnx",
            (TensorSpec("x", "FP32", tuple(taken)),),
            (TensorSpec("y", "FP32", tuple(given)),),
            batch_rows,
            stateful=stateful,
        )
        self._compute = compute or (lambda x: Tensor("y", x.datatype, x.shape, x.data))
        self.requests: list[ModelRequest] = []
        self.closed = False

    @property
    def signature(self) -> Signature:
        return self._signature

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        self.requests += batch
        return [(self._compute(request.inputs["x"]),) for request in batch]

    def close(self) -> None:
        self.closed = True


def write_model(
    repository: Path, name: str, config: str | None = None, versions: Sequence[int] = (1,), file: str = "model.onnx"
) -> Path:
    """A model's folder; its files hold nothing."""
    folder = repository / name
    for version in versions:
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / file).write_bytes(b"graph")
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    return folder
