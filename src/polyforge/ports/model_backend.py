"""The port to an engine that computes what a local model answers: one loaded model per backend object."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec


class Signature(msgspec.Struct, frozen=True):
    """What a loaded model takes and gives, and how much of it at once.

    The first dimension of every tensor counts rows. `batch_rows` is how many rows of waiting requests are worth one
    run; 1 means that every request runs alone; 0 that it does, and that the first dimensions are no rows. A request
    whose inputs have at most `brief_bytes` takes no longer than handing it to a thread and back (some 0.1 ms), so it
    may be run in place; 0 for a model that is never so quick. `labels` names the places of an output's last dimension.
    `notes` says what the model's card should tell of how it runs, such as why requests are not computed together. One
    request has at most `max_rows` rows; None: as many as the host allows. `independent_rows` says that the rows of one
    request may be computed in different runs; a `batch_rows` above 1 says so too. At most `instances` runs are under
    way at once; None: any number. A `stateful` model keeps state from request to request of a sequence, which is over
    after `sequence_idle_seconds` without one; each of its instances has at most `sequences_per_instance` of them (None:
    any number), and its requests carry the number of the instance that they are for. With `streams` one request may
    have several answers: the backend is a `StreamingBackend`. Runs `elsewhere`, in other processes or on other
    machines, take none of the host's threads from the models that compute here. With `spreads` one run may be computed
    by several threads: the backend is a `SpreadingBackend`.
    """

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch_rows: int = 1
    brief_bytes: int = 0
    labels: Mapping[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()
    max_rows: int | None = None
    independent_rows: bool = False
    instances: int | None = None
    stateful: bool = False
    sequence_idle_seconds: float = 60.0
    sequences_per_instance: int | None = None
    streams: bool = False
    elsewhere: bool = False
    spreads: bool = False


class ModelRequest(msgspec.Struct, frozen=True):
    """One request for a model: its inputs by name, already checked against the signature, and its parameters.

    `instance` counts from 0 and means something to stateful models only: which of their instances is to run it; `ended`
    are sequences of this instance that fell silent since its last run.
    """

    inputs: Mapping[str, Tensor]
    parameters: Mapping[str, Parameter]
    instance: int = 0
    ended: tuple[int | str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all inputs."""
        return sum(memoryview(tensor.data).nbytes for tensor in self.inputs.values())


Outputs = tuple[Tensor, ...]


class ModelBackend(Protocol):
    """One model in one engine. Constructing does no I/O.

    `run` is called from several threads at once. A request's answer never depends on what it was batched with.
    """

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        ...

    def load(self) -> None:
        """Read the artifact and get ready; Invalid says what is wrong with it, without naming folders."""
        ...

    def warm_up(self) -> None:
        """Run once on made-up input, so that the first caller does not pay for it."""
        ...

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """The outputs of each request, or what is wrong with it, in the order of `batch`."""
        ...

    def close(self) -> None:
        """Let go of memory and files; the object may not be used afterwards."""
        ...


class StreamingBackend(Protocol):
    """What a backend whose signature says `streams` can do besides; `run` still gives one answer, or refuses."""

    def stream(self, request: ModelRequest) -> Generator[Outputs]:
        """The answers to one request as they come, at most one request at a time in a thread.

        Each step may take as long as a run, and so does `close`, which stops the work that nobody waits for. Raises a
        PolyforgeError when there is no further answer because something went wrong.
        """
        ...


class SpreadingBackend(Protocol):
    """What a backend whose signature says `spreads` can do besides: compute one run with several threads."""

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        """From now on compute a run with so many threads if `alone` says, as it begins, that no other is under way.

        With 1 thread every run has one, as before the first call. Blocks while what it takes is got ready; Invalid and
        Unavailable when it cannot be, and then every run has one thread.
        """
        ...


class ProcessFacts(msgspec.Struct, frozen=True):
    """The processes that compute a model: how many there are, what they have resident, and what became of others.

    `endings` counts by reason: crashed, memory, time, protocol.
    """

    living: int
    resident_bytes: int
    restarts: int
    endings: Mapping[str, int]


@runtime_checkable
class ProcessBackend(Protocol):
    """A backend that computes in processes of its own."""

    @property
    def processes(self) -> ProcessFacts | None:
        """How they are; None while there are none to speak of."""
        ...

    @property
    def back_in(self) -> float | None:
        """Seconds until one of them is expected to answer, while none is there; None while one is."""
        ...
