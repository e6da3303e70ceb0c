"""A model whose engine lives in child processes, one per instance: what it does there hurts nobody else."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from polyforge.adapters.model_backends.engine.child_messages import (
    BrokenAnswer,
    WireProblem,
    buffers_of,
    decode_answers,
    decode_hello,
    decode_problems,
    encode_order,
    error_of,
)
from polyforge.isolation.child import Child
from polyforge.isolation.frames import Frame
from polyforge.isolation.limits import ChildProgram, Ended, Limits
from polyforge.isolation.pool import Pool
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.ports.model_backend import ModelRequest, Outputs, ProcessFacts, Signature
from polyforge.telemetry.logs import get_logger

ORDER_BYTES: Final = 64 * 1024 * 1024
"""Inputs of several requests that travel together, well below what a frame may hold."""

_log = get_logger(__name__)


class ProcessSettings(BaseModel):
    """A model in processes of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(description="Folder with the model's files.")
    name: str = Field(default="", description="What errors and the log call the model; by default its folder's name.")
    instances: int = Field(default=1, ge=1, le=256, description="Processes, each of which answers one run at a time.")
    memory_bytes: int = Field(
        default=2 * 1024**3, ge=1024**2, description="Memory that one process may take; above, it is restarted."
    )
    run_seconds: float = Field(
        default=60.0, gt=0, description="How long one run, or the next part of a stream, may take."
    )
    start_seconds: float = Field(default=120.0, gt=0, description="How long a process may take to get ready.")

    @property
    def label(self) -> str:
        """What the log calls the model."""
        return self.name or self.folder.name

    @property
    def limits(self) -> Limits:
        """The bounds of each process."""
        return Limits(self.memory_bytes, self.run_seconds, self.start_seconds)


class ChildBackend:
    """The children of one model. `run` and `stream` each hold one of them; when all are busy they wait for one."""

    def __init__(self, settings: ProcessSettings, program: ChildProgram) -> None:
        self._instances = settings.instances
        self._label = settings.label
        self._pool = Pool(
            program,
            settings.limits,
            size=settings.instances,
            subject=f"model '{settings.label}'",
            listener=_Logged(settings.label),
        )
        self._signature: Signature | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        if self._signature is None:
            raise RuntimeError("the model is not loaded")
        return self._signature

    @property
    def processes(self) -> ProcessFacts:
        """How its processes are, and what became of those before."""
        facts = self._pool.facts
        return ProcessFacts(facts.living, facts.own_bytes, facts.restarts, facts.endings)

    @property
    def back_in(self) -> float | None:
        """Seconds until a process is expected to answer again, while none is there; None while one is."""
        return self._pool.back_in

    def load(self) -> None:
        """Start the processes; Invalid when the model cannot be loaded, Unavailable when a process ends meanwhile."""
        try:
            found = decode_hello(self._pool.open())
        except BrokenAnswer as error:
            raise Invalid(f"the model does not declare what it takes and gives: {error}") from error
        # An event loop must never wait for another process, however brief its runs are.
        self._signature = msgspec.structs.replace(found, brief_bytes=0, instances=self._instances, elsewhere=True)

    def warm_up(self) -> None:
        """Have one process run on made-up input, or on what the model has for this."""
        with self._pool.child() as child:
            frame = child.ask(encode_order("warm_up"), ())
            try:
                problems = decode_problems(frame.header)
            except BrokenAnswer as error:
                raise child.end("protocol", str(error)) from error
        for problem in problems:
            raise error_of(problem)

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """The outputs of each request; Unavailable or TimedOut for all of them when their process ends."""
        answers: list[Outputs | PolyforgeError] = []
        for group in _groups(batch):
            answers += self._run(group)
        return answers

    def stream(self, request: ModelRequest) -> Generator[Outputs]:
        """The answers to a request as they come; closing this early stops the model's work on it."""
        with (
            self._pool.child() as child,
            closing(child.ask_for_several(*_order("stream", (request,)))) as frames,
        ):
            for frame in frames:
                (answer,) = self._answers(child, frame, 1)
                if isinstance(answer, WireProblem):
                    raise error_of(answer)
                yield answer

    def close(self) -> None:
        """Let the processes go."""
        self._pool.close()

    def _run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        # A stateful model's requests come one by one.
        place = batch[0].instance if self.signature.stateful else None
        try:
            with self._pool.child(place) as child:
                answers = self._answers(child, child.ask(*_order("run", batch)), len(batch))
        except PolyforgeError as error:
            return [error] * len(batch)
        return [error_of(answer) if isinstance(answer, WireProblem) else answer for answer in answers]

    def _answers(self, child: Child, frame: Frame, count: int) -> list[Outputs | WireProblem]:
        specs = {spec.name: spec for spec in self.signature.outputs}
        try:
            return decode_answers(frame.header, frame.payload, specs, count)
        except BrokenAnswer as error:
            raise child.end("protocol", str(error)) from error


class _Logged:
    """Tells the log what happens to the processes of a model."""

    def __init__(self, model: str) -> None:
        self._model = model

    def said(self, pid: int, line: str) -> None:
        """A line of its standard output or error."""
        _log.info("a model wrote", model=self._model, pid=pid, line=line)

    def ended(self, pid: int, ended: Ended, delay: float) -> None:
        """A process is no more."""
        _log.error(
            "a process of a model ended",
            model=self._model,
            pid=pid,
            reason=ended.ending,
            detail=ended.detail,
            restart_seconds=delay,
        )

    def refused(self, reason: str, delay: float) -> None:
        """A process could not be started again."""
        _log.error("a model could not be started again", model=self._model, reason=reason, restart_seconds=delay)


def _groups(batch: Sequence[ModelRequest]) -> Iterator[list[ModelRequest]]:
    """Requests that one frame may hold."""
    group: list[ModelRequest] = []
    size = 0
    for request in batch:
        if group and size + request.size > ORDER_BYTES:
            yield group
            group, size = [], 0
        group.append(request)
        size += request.size
    if group:
        yield group


def _order(do: Literal["run", "stream"], requests: Sequence[ModelRequest]) -> tuple[bytes, list[memoryview]]:
    tensors = [tensor for request in requests for tensor in request.inputs.values()]
    return encode_order(do, requests), buffers_of(tensors)
