"""Whatever comes, in whatever order it is run, cut or dropped: every answer is that of the request alone."""

import asyncio
import struct
import threading
import time
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyforge.kernel.errors import Invalid, PolyforgeError, TimedOut
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.plan import Plan, QueuePolicy
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import BackendBroke, Scheduler
from tests.support.waiting import eventually_async

THREADS = 3
REFUSED = b"no"
POISON = b"poison"


def row_of(text: bytes) -> tuple[int, int]:
    return len(text), zlib.crc32(text)


class Checksums:
    """BYTES `text` [n] to INT64 `sum` [n, 2] and BYTES `echo` [n], row by row; watches how it is run."""

    def __init__(self, batch_rows: int, *, brief_bytes: int = 0) -> None:
        self.signature = Signature(
            "checksums",
            (TensorSpec("text", "BYTES", (-1,)),),
            (TensorSpec("sum", "INT64", (-1, 2)), TensorSpec("echo", "BYTES", (-1,))),
            batch_rows,
            brief_bytes,
            independent_rows=True,
        )
        self.batches: list[list[ModelRequest]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def load(self) -> None: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.batches.append(list(batch))
        try:
            time.sleep(0.0002)
            return [self._answer(texts_of(request)) for request in batch]
        finally:
            with self._lock:
                self._at_once -= 1

    def _answer(self, texts: list[bytes]) -> Outputs | PolyforgeError:
        if POISON in texts:
            raise ValueError("poison")
        if REFUSED in texts:
            return Invalid("no", param="text")
        sums = [number for text in texts for number in row_of(text)]
        return (
            Tensor("sum", "INT64", (len(texts), 2), struct.pack(f"<{len(sums)}q", *sums)),
            Tensor("echo", "BYTES", (len(texts),), pack_strings(texts)),
        )


def texts_of(request: ModelRequest) -> list[bytes]:
    tensor = request.inputs["text"]
    return unpack_strings(tensor.data, tensor.count)


class Sent(msgspec.Struct, frozen=True):
    """One request, and how its caller behaves: leaves, or is cut off, after so many turns of the event loop."""

    model: int
    texts: tuple[bytes, ...]
    parameters: dict[str, Parameter]
    pause: int
    leaves: int | None
    cut: int | None


TEXTS = st.sampled_from([(b"aa",), (b"bb",)]) | st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.binary(min_size=200, max_size=300),
        # Some requests are alike, and some only look alike.
        st.sampled_from([b"aa", b"bb", b"aa", b"bb", REFUSED, POISON]),
    ),
    max_size=12,
).map(tuple)
REQUESTS = st.builds(
    Sent,
    model=st.integers(0, 2),
    texts=TEXTS,
    parameters=st.fixed_dictionaries(
        {}, optional={"priority": st.integers(0, 5), "timeout": st.sampled_from([1, 400, 3_000, 10_000_000])}
    ),
    pause=st.integers(0, 2),
    leaves=st.one_of(st.none(), st.none(), st.integers(0, 6)),
    cut=st.one_of(st.none(), st.none(), st.integers(0, 6)),
)
POLICIES = st.builds(
    QueuePolicy,
    timeout_us=st.sampled_from([0, 0, 300]),
    allow_timeout_override=st.booleans(),
    timeout_action=st.sampled_from(["REJECT", "DELAY"]),
)
PLANS = st.builds(
    Plan,
    instances=st.integers(0, 3),
    batch_rows=st.integers(0, 9),
    batch_bytes=st.sampled_from([0, 100, 1000]),
    preferred_rows=st.sampled_from([(), (2, 4)]),
    levels=st.sampled_from([0, 0, 3]),
    default_level=st.just(2),
    policy=POLICIES,
    level_policies=st.dictionaries(st.integers(1, 3), POLICIES, max_size=1),
    keep_order=st.booleans(),
    cached=st.booleans(),
)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def one(scheduler: Scheduler, model: HostedModel, sent: Sent) -> Any:
    request = ModelRequest(
        {"text": Tensor("text", "BYTES", (len(sent.texts),), pack_strings(sent.texts))}, sent.parameters
    )

    async def gone() -> None:
        if sent.leaves is None:
            await asyncio.Event().wait()
        await turns(sent.leaves or 0)

    return await scheduler.infer(model, request, rows=len(sent.texts), within=60.0, gone=gone)


async def play(scheduler: Scheduler, models: list[HostedModel], script: list[Sent]) -> list[Any]:
    tasks: list[asyncio.Task[Any]] = []

    async def cut(task: asyncio.Task[Any], after: int) -> None:
        await turns(after)
        task.cancel()

    cutters: list[asyncio.Task[None]] = []
    for sent in script:
        task = asyncio.create_task(one(scheduler, models[sent.model], sent))
        tasks.append(task)
        if sent.cut is not None:
            cutters.append(asyncio.create_task(cut(task, sent.cut)))
        await turns(sent.pause)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*cutters)
    await eventually_async(lambda: scheduler.idle, "nothing waits or runs")
    return answers


def check(sent: Sent, answer: Any, plan: Plan) -> None:
    if isinstance(answer, asyncio.CancelledError):
        assert sent.cut is not None
    elif isinstance(answer, TimedOut):
        assert sent.parameters.get("timeout") or plan.policy.timeout_us or plan.level_policies
    elif isinstance(answer, PolyforgeError) and answer.status == 499:
        assert sent.leaves is not None
    elif isinstance(answer, Invalid):
        assert REFUSED in sent.texts
    elif isinstance(answer, BaseException):
        assert isinstance(answer, BackendBroke)
        assert POISON in sent.texts
    else:
        sums, echo = answer
        numbers = struct.unpack(f"<{sums.count}q", sums.data)
        assert list(zip(numbers[::2], numbers[1::2], strict=True)) == [row_of(text) for text in sent.texts]
        assert unpack_strings(echo.data, echo.count) == list(sent.texts)
        assert sums.shape == (len(sent.texts), 2)


def check_runs(backend: Checksums, plan: Plan) -> None:
    assert backend.most_at_once <= (plan.instances or THREADS)
    most = max(plan.batch_rows, *plan.preferred_rows, 1)
    for batch in backend.batches:
        rows = sum(len(texts_of(request)) for request in batch)
        assert len(batch) == 1 or rows <= most
        longest = max(request.size // max(1, len(texts_of(request))) for request in batch)
        assert len(batch) == 1 or not plan.batch_bytes or longest * rows <= plan.batch_bytes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(REQUESTS, max_size=40), st.tuples(PLANS, PLANS, PLANS))
def test_every_answer_is_that_of_the_request_alone(script: list[Sent], plans: tuple[Plan, ...]) -> None:
    backends = [Checksums(8), Checksums(8), Checksums(8, brief_bytes=60)]
    models = [HostedModel(f"m{place}", backend) for place, backend in enumerate(backends)]
    for model, plan in zip(models, plans, strict=True):
        model.load()
        model.plan = plan

    async def main() -> list[Any]:
        scheduler = Scheduler(threads=THREADS, max_queue=1000, cache_bytes=5_000)
        scheduler.open()
        answers = await play(scheduler, models, script)
        for model in models:
            assert (scheduler.waiting(model), scheduler.running(model)) == (0, 0)
            await scheduler.unload(model)
        await scheduler.close()
        return answers

    answers = asyncio.run(main())
    assert len(answers) == len(script)
    for sent, answer in zip(script, answers, strict=True):
        check(sent, answer, plans[sent.model])
    for backend, plan in list(zip(backends, plans, strict=True))[:2]:
        check_runs(backend, plan)
    for place, model in enumerate(models):
        asked = sum(sent.model == place for sent in script)
        counters = model.statistics
        never_counted = sum(isinstance(answer, asyncio.CancelledError) for answer in answers)
        counted = counters.succeeded + counters.failed + counters.cancelled + counters.rejected
        assert asked - never_counted <= counted <= asked
