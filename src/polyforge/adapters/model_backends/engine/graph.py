"""One ONNX graph in one ONNX Runtime session, checked before the engine sees it.

A session with one thread computes in the thread that calls it, and may be called from several: so one session serves as
many one-thread instances as there are callers, with one copy of the weights. On a CPU that beats one session over all
cores by up to two, and spinning threads would take the other instances' cores. Whoever comes alone would be answered
sooner by all cores: for him a second session can be opened, with the weights once more.
"""

import mmap
import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]  # it has none
from pydantic import BaseModel, ConfigDict, Field

from polyforge.adapters.model_backends.engine.arrays import Array
from polyforge.adapters.model_backends.engine.files import inside
from polyforge.dialects.onnx import GraphFacts, read_facts
from polyforge.dialects.onnx_rewriting import without_nan_guards
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.tensors import Datatype, TensorSpec

PLATFORM = "onnxruntime_onnx"
"""Triton's name for it."""
MAX_GRAPH_BYTES = 2**31
"""The most that protobuf allows; larger models keep their weights in other files."""
MAX_TRIMMED_BYTES = 2**28
"""Larger files are opened as they are: to write one anew takes memory twice over."""
MAX_FIXED_ELEMENTS = 2**31
"""Of an input or output whose shape the graph fixes."""
MAX_FOLDED_BYTES = 64 * 1024 * 1024
"""Of one constant that the engine computes while loading."""
MAX_REASON = 300
MAX_SPREAD_BYTES = 2**28
"""Weights of larger graphs are not held twice."""
SHRINK_RUNS = 64
"""After so many runs the arena is shrunk: it would keep what the largest run so far took, a gigabyte for long texts."""

BATCH_DEPENDENT = {
    "DynamicQuantizeLinear": "takes one scale for everything that is computed together",
    "com.microsoft.DynamicQuantizeMatMul": "takes one scale for everything that is computed together",
    "com.microsoft.DynamicQuantizeLSTM": "takes one scale for everything that is computed together",
    "BatchNormalization (training)": "normalises over everything that is computed together",
    "MeanVarianceNormalization": "may normalise over everything that is computed together",
    "RandomNormal": "draws random numbers",
    "RandomNormalLike": "draws random numbers",
    "RandomUniform": "draws random numbers",
    "RandomUniformLike": "draws random numbers",
    "Multinomial": "draws random numbers",
    "Bernoulli": "draws random numbers",
    "Dropout (training)": "draws random numbers",
}
"""Operators whose result for one row depends on the rows beside it, or on how many there are."""
REMEDY = {"DynamicQuantize": "weight-only int8 (MatMulNBits) or static int8 is independent of the batch"}
READS_FILES = frozenset({"com.microsoft.EPContext"})
"""Operators that load what lies outside the graph, from a path in it."""

_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    "openvino": ("OpenVINOExecutionProvider", "CPUExecutionProvider"),
}
_PACKAGES = {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
_SOURCE_PLACE = re.compile(r"\S*\.(?:cc|h|cpp|hpp):\d+\s*")
_ort = cast(Any, onnxruntime)
_states = _ort.capi.onnxruntime_pybind11_state

_Marks = tuple[tuple[int, int, int], ...]

Device = Literal["cpu", "cuda", "tensorrt", "openvino"]


class GraphSettings(BaseModel):
    """Where a graph lies and how it is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(description="Folder of the artifact.")
    file: str | None = Field(
        default=None, description="The graph's path in the folder; by default the only .onnx file, or model.onnx."
    )
    device: Device = Field(default="cpu", description="What computes: the engine's provider, if it is installed.")
    threads: int = Field(default=1, ge=1, le=256, description="Threads per run; 1 is best unless a run is long.")
    batch_rows: int = Field(
        default=8, ge=1, le=4096, description="Most rows in one run; 1 runs every row or request alone."
    )
    arena: bool = Field(
        default=True,
        description="Keep memory between runs and give back what is unused now and then: a little quicker.",
    )


class Port(msgspec.Struct, frozen=True):
    """An input or output of a graph; `dimensions` has a name for each dimension that has one."""

    spec: TensorSpec
    dimensions: tuple[str | None, ...]


class Graph:
    """A loaded graph. `run` may be called from several threads at once."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._session: Any = None
        self._spread: Any = None
        self._alone: Callable[[], bool] = lambda: False
        self._checked: _Marks = ()
        self._runs = count(1)
        self.facts = GraphFacts({}, {}, ())
        self.trimmed = False
        """Whether it was opened without what only masks need."""
        self.spreads = False
        """Whether it may be opened a second time, for runs over several threads."""
        self.inputs: tuple[Port, ...] = ()
        self.outputs: tuple[Port, ...] = ()

    @property
    def settings(self) -> GraphSettings:
        """How it is run."""
        return self._settings

    def load(self, *, never_padded: Callable[[], bool] = lambda: False) -> None:
        """Check the file and open a session on it; Invalid says what is wrong with it, without naming folders.

        `never_padded`, asked once the file's facts are known, promises that no run masks anything: then what guards
        against masks is left out, and no answer changes.
        """
        path, name = self._place()
        self.facts = check_graph(self._settings.folder, path, name)
        self._checked = self._marks(path)
        trimmed = self._trimmed(path, name) if never_padded() else None
        self.trimmed = trimmed is not None
        session = self._open(trimmed or os.fspath(path), name, self._settings.threads)
        self.spreads = self._may_spread()
        try:
            self.inputs = tuple(_port(name, "input", node) for node in session.get_inputs())
            self.outputs = tuple(_port(name, "output", node) for node in session.get_outputs())
        except UnicodeDecodeError as error:
            raise Invalid(f"{name}: the name of an input or output is not UTF-8") from error
        if not self.inputs or not self.outputs:
            raise Invalid(f"{name}: a graph without inputs or without outputs cannot be served")
        self._session = session

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """All outputs, or those named, in their order.

        Invalid when the graph cannot compute these inputs, Unavailable when the memory does not suffice.
        """
        try:
            return cast(list[Array], self._chosen().run(outputs, feeds, self._run_options()))
        except (_states.InvalidArgument, _states.RuntimeException, _states.Fail) as error:
            reason = _reason(error, self._settings.folder)
            if "alloc" in reason.lower():
                raise Unavailable(f"the model needs more memory for these inputs than there is: {reason}") from error
            first = next(iter(feeds))
            raise Invalid(f"the model cannot compute these inputs: {reason}", param=first) from error

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        """From now on compute a run with so many threads if `alone` says, as it begins, that no other is under way.

        Invalid when the files are no more those that were checked and loaded.
        """
        self._spread = None
        if threads > 1 and self.spreads:
            path, name = self._place()
            if self._marks(path) != self._checked:
                raise Invalid(f"{name}: it has changed since it was loaded")
            trimmed = self._trimmed(path, name) if self.trimmed else None
            self._alone = alone
            self._spread = self._open(trimmed or os.fspath(path), name, threads)

    def close(self) -> None:
        """Let go of the sessions; what still runs ends first."""
        self._session = self._spread = None

    def batch_dependence(self) -> str | None:
        """Why an answer would depend on what it is computed with, if an operator makes it so; None otherwise."""
        found = sorted(name for name in self.facts.operators if name in BATCH_DEPENDENT)
        if not found:
            return None
        name = found[0]
        remedy = next((f"; {text}" for part, text in REMEDY.items() if part in name), "")
        return f"{self.facts.operators[name]} x {name} {BATCH_DEPENDENT[name]}{remedy}"

    def _chosen(self) -> Any:
        """The session for a run that begins now."""
        session, spread = self._session, self._spread
        if session is None:
            raise RuntimeError("the model is not loaded")
        return session if spread is None or not self._alone() else spread

    def _place(self) -> tuple[Path, str]:
        path = find_graph(self._settings.folder, self._settings.file)
        return path, path.relative_to(self._settings.folder).as_posix()

    def _marks(self, path: Path) -> _Marks:
        """Of the graph's file and those of its weights: the size, when it was changed, and its number on the disk."""
        beside = sorted({external.location for external in self.facts.external})
        try:
            found = [place.stat() for place in (path, *(path.parent / location for location in beside))]
        except OSError as error:
            raise Invalid(f"the graph's files cannot be read: {error.strerror}") from error
        return tuple((each.st_size, each.st_mtime_ns, each.st_ino) for each in found)

    def _may_spread(self) -> bool:
        on_one_core = self._settings.device == "cpu" and self._settings.threads == 1
        return on_one_core and sum(size for size, _, _ in self._checked) <= MAX_SPREAD_BYTES

    def _run_options(self) -> Any:
        """None, or for one run in SHRINK_RUNS the wish that unused memory be given back: an arena only ever grows."""
        if next(self._runs) % SHRINK_RUNS or not self._settings.arena or self._settings.device != "cpu":
            return None
        options = _ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    def _trimmed(self, path: Path, name: str) -> bytes | None:
        """The graph without what only masks need; None when it has nothing of it, or is too large to write anew."""
        if "IsNaN" not in self.facts.operators or self.facts.external or path.stat().st_size > MAX_TRIMMED_BYTES:
            return None
        with _mapped(path, name) as content:
            return without_nan_guards(content)

    def _open(self, graph: str | bytes, name: str, threads: int) -> Any:
        providers = _PROVIDERS[self._settings.device]
        if providers[0] not in _ort.get_available_providers():
            package = _PACKAGES.get(self._settings.device, "onnxruntime")
            raise Invalid(f"device: {self._settings.device} needs {package}; this onnxruntime has no {providers[0]}")
        try:
            # Its fallback would print to stdout, and run elsewhere than was asked for.
            session = _ort.InferenceSession(graph, self._options(threads), providers=list(providers), enable_fallback=0)
        except MemoryError:
            raise
        except Exception as error:  # the engine's errors have no class in common
            raise Invalid(f"{name}: {_reason(error, self._settings.folder)}") from error
        if session.get_providers()[0] != providers[0]:
            raise Invalid(f"device: {self._settings.device} is installed and cannot be used on this machine")
        return session

    def _options(self, threads: int) -> Any:
        options = _ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = self._settings.arena
        # A pattern is kept for every shape that was ever seen, and texts have many.
        options.enable_mem_pattern = False
        options.log_severity_level = 4
        has_machine = threads > self._settings.threads
        entries = {
            "session.intra_op.allow_spinning": "1" if has_machine else "0",
            # Threads that go on spinning after a run would take the core of whoever comes next.
            "session.force_spinning_stop": "1",
            "session.inter_op.allow_spinning": "0",
            "optimization.constant_folding_max_output_size_in_bytes": str(MAX_FOLDED_BYTES),
        }
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        return options


# Finding and checking the file


def find_graph(folder: Path, file: str | None) -> Path:
    """The graph of an artifact; Invalid when there is none, or when several are and none is chosen."""
    if file is not None:
        return _file_inside(folder, folder, file, "file")
    # Triton lets a folder take the place of a graph that has its weights beside it.
    places = (folder, folder / "onnx", folder / "model.onnx")
    found = sorted(path for place in places for path in place.glob("*.onnx") if path.is_file())
    usual = [path for path in found if path.name == "model.onnx"]
    if len(found) != 1 and len(usual) != 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        raise Invalid(
            f"there are several graphs, choose one: {names}" if found else "there is no .onnx file", param="file"
        )
    return _file_inside(folder, folder, (usual or found)[0].relative_to(folder).as_posix(), "file")


def check_graph(folder: Path, path: Path, name: str) -> GraphFacts:
    """What the file holds; Invalid when it is damaged, absurd, or reaches outside its folder."""
    with _mapped(path, name) as content:
        try:
            facts = read_facts(content)
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error
    for operator in sorted(READS_FILES & facts.operators.keys()):
        raise Invalid(f"{name}: the operator {operator} loads other files, it is refused")
    sizes: dict[str, int] = {}
    for external in facts.external:
        where = f"{name}: tensor {external.tensor!r}"
        if external.location not in sizes:
            sizes[external.location] = _file_inside(folder, path.parent, external.location, where).stat().st_size
        if external.offset + external.length > sizes[external.location]:
            raise Invalid(f"{where}: its data ends beyond the end of {external.location!r}")
    return facts


def _file_inside(folder: Path, base: Path, relative: str, where: str) -> Path:
    path = inside(folder, base, relative, where)
    if not path.is_file():
        raise Invalid(f"{where}: {relative!r} is not there, or is no file")
    return path


@contextmanager
def _mapped(path: Path, name: str) -> Generator[mmap.mmap]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_GRAPH_BYTES:
                raise Invalid(f"{name}: it is larger than {MAX_GRAPH_BYTES} bytes; keep the weights in other files")
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise Invalid(f"cannot read {name}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"{name}: it is empty") from error
    with content:
        yield content


def _port(file: str, kind: str, node: Any) -> Port:
    name = cast(str, node.name)
    datatype = _DATATYPES.get(cast(str, node.type))
    if datatype is None:
        remedy = "; export the classifier without ZipMap" if node.type.startswith(("seq", "map")) else ""
        raise Invalid(f"{file}: {kind} {name!r} is a {node.type}, which cannot travel{remedy}")
    sizes = cast(list[int | str | None], list(node.shape))
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in sizes)
    fixed = 1
    for size in shape:
        fixed *= max(1, size)
    if fixed > MAX_FIXED_ELEMENTS:
        raise Invalid(f"{file}: {kind} {name!r} has shape {list(shape)}; more than {MAX_FIXED_ELEMENTS} are refused")
    return Port(TensorSpec(name, datatype, shape), tuple(size if isinstance(size, str) else None for size in sizes))


def _reason(error: Exception, folder: Path) -> str:
    """What the engine says, without its own source files and without the artifact's place."""
    text = str(error).rpartition("Status Message: ")[2]
    for place in {os.fspath(folder), os.fspath(folder.resolve())}:
        text = text.replace(f"{place}{os.sep}", "").replace(place, "the artifact")
    text = _SOURCE_PLACE.sub("", text).removeprefix("[ONNXRuntimeError] : ")
    return " ".join(text.split())[:MAX_REASON]
