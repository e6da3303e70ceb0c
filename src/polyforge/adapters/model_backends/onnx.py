"""Any ONNX graph on ONNX Runtime, as it is: the graph's own inputs and outputs are the model's.

Requests are computed together only when every input and output begins with the same free dimension, no operator mixes
what is computed together, and a trial on made-up inputs gave each row the same answer alone and in company.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from polyforge.adapters.model_backends.engine.arrays import DTYPES, Array, array_of, much_alike, tensor_of
from polyforge.adapters.model_backends.engine.graph import PLATFORM, Graph, GraphSettings, Port
from polyforge.kernel.errors import Invalid, PolyforgeError, Unavailable
from polyforge.kernel.tensors import Datatype, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

ALONE = "runs every request alone"
TRIAL_ROWS = 3
TRIAL_SIZES = (8, 64, 224)
"""What a free dimension that is not the first is made up as; the next is tried when the graph refuses one."""
MAX_TRIAL_ELEMENTS = 1 << 22
BRIEF_SECONDS = 1e-4
TIMED_RUNS = 5
TIMED_ROWS = (1, 8, 64)

Settings = GraphSettings
_Feeds = dict[str, Array]


class Onnx:
    """One graph. A request's parameters mean nothing to it."""

    def __init__(self, settings: Settings) -> None:
        self._graph = Graph(settings)
        self._signature: Signature | None = None
        self._sample: _Feeds | None = None
        self._inputs: tuple[str, ...] = ()
        self._given: tuple[tuple[str, Datatype], ...] = ()

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        if self._signature is None:
            raise RuntimeError("the model is not loaded")
        return self._signature

    def load(self) -> None:
        """Check the graph, open it, and find out whether requests may be computed together; Invalid if it is wrong."""
        self._graph.load()
        inputs, outputs = self._graph.inputs, self._graph.outputs
        self._inputs = tuple(port.spec.name for port in inputs)
        self._given = tuple((port.spec.name, port.spec.datatype) for port in outputs)
        self._sample, answers = self._first_trial()
        known = dict(zip((port.spec.name for port in outputs), answers, strict=False))
        batch_rows, note = self._batching()
        self._signature = Signature(
            platform=PLATFORM,
            inputs=tuple(port.spec for port in inputs),
            outputs=tuple(_output_spec(port.spec, known.get(port.spec.name)) for port in outputs),
            batch_rows=batch_rows,
            brief_bytes=self._brief_bytes(has_rows=batch_rows > 1),
            notes=(note,) if note else (),
            spreads=self._graph.spreads,
        )

    def warm_up(self) -> None:
        """Run once on made-up input, if there is any that the graph takes."""
        if self._sample is not None:
            self._graph.run(self._sample)

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """The graph's outputs for every request, or what is wrong with it."""
        if len(batch) == 1 or self.signature.batch_rows <= 1:
            return [self._answer(request) for request in batch]
        answers: dict[int, Outputs | PolyforgeError] = {}
        feeds: dict[int, _Feeds] = {}
        for place, request in enumerate(batch):
            try:
                feeds[place] = self._feeds(request)
            except PolyforgeError as error:
                answers[place] = error
        for group in _groups(feeds, self.signature.batch_rows):
            answers.update(self._answers({place: feeds[place] for place in group}))
        return [answers[place] for place in range(len(batch))]

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        """From now on compute a run with so many threads if `alone` says, as it begins, that no other is under way."""
        self._graph.spread(threads, alone)

    def close(self) -> None:
        """Let go of the sessions."""
        self._graph.close()
        self._sample = None

    def _feeds(self, request: ModelRequest) -> _Feeds:
        return {name: array_of(request.inputs[name]) for name in self._inputs}

    def _answer(self, request: ModelRequest) -> Outputs | PolyforgeError:
        try:
            feeds = self._feeds(request)
        except Invalid as error:
            return error
        return self._alone(feeds)

    def _answers(self, group: dict[int, _Feeds]) -> dict[int, Outputs | PolyforgeError]:
        together = self._together(group) if len(group) > 1 else None
        # When they cannot be computed together one is to blame: alone it is found out, and the others are answered.
        return together or {place: self._alone(feeds) for place, feeds in group.items()}

    def _alone(self, feeds: _Feeds) -> Outputs | PolyforgeError:
        try:
            return self._outputs(self._graph.run(feeds))
        except PolyforgeError as error:
            return error

    def _together(self, group: dict[int, _Feeds]) -> dict[int, Outputs | PolyforgeError] | None:
        parts = list(group.values())
        try:
            whole = self._graph.run({name: np.concatenate([feeds[name] for feeds in parts]) for name in parts[0]})
        except PolyforgeError:
            return None
        rows = sum(len(next(iter(feeds.values()))) for feeds in parts)
        if any(not array.shape or len(array) != rows for array in whole):
            return None
        answers: dict[int, Outputs | PolyforgeError] = {}
        start = 0
        for place, feeds in group.items():
            end = start + len(next(iter(feeds.values())))
            answers[place] = self._outputs([array[start:end] for array in whole])
            start = end
        return answers

    def _outputs(self, arrays: Sequence[Array]) -> Outputs:
        return tuple(
            tensor_of(name, datatype, array) for (name, datatype), array in zip(self._given, arrays, strict=True)
        )

    def _batching(self) -> tuple[int, str | None]:
        """How many rows are worth one run, 0 when the first dimension is not the rows, and why not more."""
        inputs = self._graph.inputs
        if any(not port.spec.shape for port in inputs):
            return 0, f"{ALONE}: an input has no dimension for rows"
        if (
            len({port.spec.shape[0] for port in inputs}) > 1
            or len({port.dimensions[0] for port in inputs} - {None}) > 1
        ):
            return 0, f"{ALONE}: the inputs do not share their first dimension"
        if any(port.spec.shape[:1] not in ((-1,), ()) for port in (*inputs, *self._graph.outputs)):
            return 1, f"{ALONE}: the graph fixes how many rows it takes or gives"
        if reason := self._graph.batch_dependence():
            return 1, f"{ALONE}: {reason}"
        if self._graph.settings.batch_rows == 1:
            return 1, None
        if reason := self._row_trial():
            # Plain vectors whose elements are not independent are series or signals, not rows.
            return int(any(len(port.spec.shape) > 1 for port in inputs)), f"{ALONE}: {reason}"
        return self._graph.settings.batch_rows, None

    def _first_trial(self) -> tuple[_Feeds | None, list[Array]]:
        for size in TRIAL_SIZES:
            feeds = made_up(self._graph.inputs, 1, size)
            if feeds is None:
                break
            try:
                return feeds, self._graph.run(feeds)
            except Invalid:
                continue
            except Unavailable as error:
                raise Invalid(f"with a single small row, {error.message}") from error
        return None, []

    def _row_trial(self) -> str | None:
        """Why rows may not be computed together, found by doing it; None when nothing speaks against it."""
        if self._sample is None:
            return "it takes no made-up inputs, so nobody knows whether rows are independent of each other"
        rows = made_up(self._graph.inputs, TRIAL_ROWS, _free_size(self._sample, self._graph.inputs))
        if rows is None:
            return "its inputs are too large to try it"
        try:
            together = self._graph.run(rows)
            alone = [self._graph.run({n: a[k : k + 1] for n, a in rows.items()}) for k in range(TRIAL_ROWS)]
        except Invalid:
            return "several rows of made-up inputs cannot be computed together"
        for place, array in enumerate(together):
            if not array.shape or len(array) != TRIAL_ROWS:
                return f"output {self._graph.outputs[place].spec.name!r} has not one row for each row of the inputs"
            if not all(much_alike(array[k : k + 1], alone[k][place]) for k in range(TRIAL_ROWS)):
                return "a row's answer changed with the rows beside it in a trial"
        return None

    def _brief_bytes(self, *, has_rows: bool) -> int:
        """How large inputs may be that are computed in no time, as far as made-up ones tell."""
        if self._sample is None:
            return 0
        brief = 0
        size = _free_size(self._sample, self._graph.inputs)
        for rows in TIMED_ROWS if has_rows else (1,):
            feeds = made_up(self._graph.inputs, rows, size)
            if feeds is None or self._seconds(feeds) > BRIEF_SECONDS:
                break
            brief = sum(array.nbytes for array in feeds.values())
        return brief

    def _seconds(self, feeds: _Feeds) -> float:
        """The least that a few runs took: what the machine did meanwhile is none of the graph's."""
        least = float("inf")
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            self._graph.run(feeds)
            least = min(least, time.perf_counter() - start)
        return least


def made_up(ports: Sequence[Port], rows: int, size: int) -> _Feeds | None:
    """Inputs that many graphs take: every row on a scale of its own, whole numbers 0 and 1; None if too large."""
    generator = np.random.default_rng(0)
    feeds: _Feeds = {}
    for port in ports:
        free = (rows, *(size for _ in port.spec.shape[1:]))
        shape = tuple(wanted if fixed < 0 else fixed for fixed, wanted in zip(port.spec.shape, free, strict=False))
        if np.prod(shape, dtype=float) > MAX_TRIAL_ELEMENTS:
            return None
        feeds[port.spec.name] = _made_up_array(port.spec, shape, generator)
    return feeds


def _made_up_array(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    if spec.datatype == "BYTES":
        return np.full(shape, "a", object)
    if spec.datatype not in ("FP16", "FP32", "FP64"):
        numbers = generator.integers(0, 2, shape)
        # A mask that leaves nothing over has no answer.
        numbers[..., :1] = 1
        return numbers.astype(DTYPES[spec.datatype])
    numbers = generator.standard_normal(shape)
    if shape:
        numbers *= (4.0 ** (np.arange(shape[0]) % TRIAL_ROWS)).reshape(-1, *(1 for _ in shape[1:]))
    return numbers.astype(DTYPES[spec.datatype])


def _free_size(sample: _Feeds, ports: Sequence[Port]) -> int:
    for port in ports:
        for declared, made in zip(port.spec.shape[1:], sample[port.spec.name].shape[1:], strict=True):
            if declared < 0:
                return made
    return TRIAL_SIZES[0]


def _output_spec(spec: TensorSpec, answer: Array | None) -> TensorSpec:
    """What the graph declares; for one that declares no dimensions, as many as it gave in the trial."""
    if spec.shape or answer is None or not answer.shape:
        return spec
    return TensorSpec(spec.name, spec.datatype, (-1,) * answer.ndim)


def _groups(feeds: dict[int, _Feeds], limit: int) -> list[list[int]]:
    """Requests that fit together: equal in all but their first dimension, and of at most `limit` rows."""
    full: list[list[int]] = []
    filling: dict[tuple[tuple[int, ...], ...], tuple[list[int], int]] = {}
    for place, arrays in feeds.items():
        rows = len(next(iter(arrays.values())))
        key = tuple(array.shape[1:] for array in arrays.values())
        group, filled = filling.get(key, ([], 0))
        if group and filled + rows > limit:
            full.append(group)
            group, filled = [], 0
        group.append(place)
        filling[key] = group, filled + rows
    return full + [group for group, _ in filling.values()]


ADAPTER = Onnx
