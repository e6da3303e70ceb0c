"""Sequences of requests for models in Python that keep state, with Triton's own clients over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from polyforge.serving.api import OipApp
from polyforge.serving.repository import Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.wiring.http_connection import HttpConnection
from polyforge.wiring.triton import triton_control
from tests.support.python_models import write_model
from tests.support.waiting import PAUSE

WANTED = "needs tritonclient, which `make test` installs"
http_aio = pytest.importorskip("tritonclient.http.aio", reason=WANTED)
grpc_aio = pytest.importorskip("tritonclient.grpc.aio", reason=WANTED)
utils = pytest.importorskip("tritonclient.utils", reason=WANTED)

from polyforge.adapters.listeners.grpc import GrpcListener  # noqa: E402  the library may be missing
from polyforge.adapters.listeners.grpc import Settings as GrpcSettings  # noqa: E402

pytestmark = pytest.mark.integration

CRASH = -1
STEPS = 6
MAX_TRIES = 1000
TOTALS = """
    import os
    import numpy as np

    class Model:
        stateful = True
        number = ("INT64", [-1, 1])
        inputs = {"x": number, "ID": number, "START": ("FP32", [-1, 1]), "END": ("INT32", [-1, 1])}
        outputs = {"total": number, "pid": number, "alive": number}

        def load(self):
            self.totals = {}

        def predict(self, inputs, parameters):
            number, name = int(inputs["x"][0, 0]), int(inputs["ID"][0, 0])
            if number == -1:
                os._exit(7)
            assert name == parameters["sequence_id"]
            assert bool(inputs["END"][0, 0]) == parameters.get("sequence_end", False)
            self.totals[name] = number if inputs["START"][0, 0] else self.totals[name] + number
            given = self.totals[name], os.getpid(), len(self.totals)
            return {key: [[value]] for key, value in zip(self.outputs, given)}

        def end_sequence(self, sequence_id):
            del self.totals[sequence_id]
"""
CONFIG = """
backend: "python" max_batch_size: 1
input { name: "x" data_type: TYPE_INT64 dims: 1 }
output [
  { name: "total" data_type: TYPE_INT64 dims: 1 },
  { name: "pid" data_type: TYPE_INT64 dims: 1 },
  { name: "alive" data_type: TYPE_INT64 dims: 1 }
]
instance_group { count: 2 kind: KIND_CPU }
model_warmup { name: "one" batch_size: 1 inputs { key: "x" value { data_type: TYPE_INT64 dims: 1 zero_data: true } } }
sequence_batching {
  max_sequence_idle_microseconds: IDLE
  control_input [
    { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } },
    { name: "END" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } },
    { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_INT64 } }
  ]
}
"""
LONG = 600_000_000
SHORT = 50_000


class Clients:
    """Asks the served model over both protocols."""

    def __init__(self, http: Any, grpc: Any) -> None:
        self.clients = ((http_aio, http), (grpc_aio, grpc))

    async def ask(self, over: int, number: int, model: str = "totals", **sequence: Any) -> tuple[int, int, int]:
        module, client = self.clients[over]
        tensor = module.InferInput("x", [1, 1], "INT64")
        tensor.set_data_from_numpy(np.array([[number]], np.int64))
        answer = await client.infer(model, [tensor], **sequence)
        total, pid, alive = (int(answer.as_numpy(name)[0, 0]) for name in ("total", "pid", "alive"))
        return total, pid, alive


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    for name, idle in (("totals", LONG), ("hasty", SHORT)):
        write_model(tmp_path / "models" / name / "1", TOTALS)
        (tmp_path / "models" / name / "config.pbtxt").write_text(CONFIG.replace("IDLE", str(idle)))
    (tmp_path / "scratch").mkdir()
    repository, scheduler = Repository([]), Scheduler(threads=2, max_queue=500)
    control = triton_control(tmp_path / "models", repository, scheduler, tmp_path / "scratch")
    app = OipApp(repository, scheduler, version="9", max_rows=100, timeout=60, control=control)
    scheduler.open()
    await control.load_all()
    assert [entry.reason for entry in control.index()] == ["", ""]
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=HttpConnection, log_config=None, lifespan="off"))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    grpc = GrpcListener(GrpcSettings(host="127.0.0.1", port=0), app)
    await grpc.open()
    async with (
        http_aio.InferenceServerClient(f"127.0.0.1:{listener.getsockname()[1]}") as over_http,
        grpc_aio.InferenceServerClient(f"127.0.0.1:{grpc.port}") as over_grpc,
    ):
        yield Clients(over_http, over_grpc)
    await grpc.close()
    server.should_exit = True
    await serving
    await scheduler.close()
    repository.close()


async def test_crossed_sequences_of_many_callers_keep_their_own_state(clients: Clients) -> None:
    async def sequence(name: int) -> tuple[list[int], set[int]]:
        answers = [
            await clients.ask(
                name % 2, name + step, sequence_id=name, sequence_start=step == 0, sequence_end=step == STEPS - 1
            )
            for step in range(STEPS)
        ]
        return [total for total, _, _ in answers], {pid for _, pid, _ in answers}

    names = range(1, 25)
    found = await asyncio.gather(*map(sequence, names))
    for name, (totals, pids) in zip(names, found, strict=True):
        assert totals == np.cumsum([name + step for step in range(STEPS)]).tolist()
        assert len(pids) == 1
    assert len({pid for _, pids in found for pid in pids}) == 2
    # Every state was let go of: the next sequence is alone.
    _, _, alive = await clients.ask(0, 1, sequence_id=99, sequence_start=True)
    assert alive == 1


@pytest.mark.parametrize("over", [0, 1])
async def test_requests_that_fit_no_sequence_are_refused(clients: Clients, over: int) -> None:
    with pytest.raises(utils.InferenceServerException, match="must specify the START flag"):
        await clients.ask(over, 1, sequence_id=7)
    with pytest.raises(utils.InferenceServerException, match="non-zero or non-empty correlation ID"):
        await clients.ask(over, 1)
    with pytest.raises(utils.InferenceServerException, match="'sequence_id' must be a number"):
        await clients.ask(over, 1, sequence_id="seven", sequence_start=True)


async def refusal_once_it_is_back(clients: Clients, sequence: int) -> str:
    """Why a sequence's request is refused when its instance answers again; 503 until then."""
    for _ in range(MAX_TRIES):
        with pytest.raises(utils.InferenceServerException) as caught:
            await clients.ask(0, 10, sequence_id=sequence)
        reason: str = caught.value.message()
        if "is being restarted" not in reason:
            return reason
        await asyncio.sleep(PAUSE)
    raise AssertionError("the process did not come back")


async def test_a_crash_ends_the_sequences_of_its_instance_and_no_others(clients: Clients) -> None:
    first = await clients.ask(0, 1, sequence_id=1, sequence_start=True)
    other = await clients.ask(1, 1, sequence_id=2, sequence_start=True)
    assert first[1] != other[1]
    with pytest.raises(utils.InferenceServerException, match=r"crashed \(exit status 7\); it is being restarted"):
        await clients.ask(1, CRASH, sequence_id=1)
    assert await clients.ask(0, 10, sequence_id=2) == (11, other[1], 1)
    assert "begin it anew" in await refusal_once_it_is_back(clients, 1)
    total, pid, _ = await clients.ask(1, 5, sequence_id=1, sequence_start=True)
    assert (total, pid in (first[1], other[1])) == (5, False)
    assert await clients.ask(0, 1, sequence_id=2) == (12, other[1], 1)


async def test_a_silent_sequence_is_over_and_its_state_is_let_go(clients: Clients) -> None:
    for name in (1, 2):
        await clients.ask(0, 1, "hasty", sequence_id=name, sequence_start=True)
    await asyncio.sleep(2 * SHORT / 1_000_000)
    with pytest.raises(utils.InferenceServerException, match="must specify the START flag"):
        await clients.ask(0, 1, "hasty", sequence_id=1)
    for name in (3, 4):
        _, _, alive = await clients.ask(1, 1, "hasty", sequence_id=name, sequence_start=True)
        assert alive == 1


async def test_requests_of_a_sequence_on_a_stream_need_not_wait_for_each_other(clients: Clients) -> None:
    _, client = clients.clients[1]

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for step in range(20):
            for name in (1, 2, 3):
                tensor = grpc_aio.InferInput("x", [1, 1], "INT64")
                tensor.set_data_from_numpy(np.array([[name]], np.int64))
                flags = {"sequence_start": step == 0, "sequence_end": step == 19}
                yield {"model_name": "totals", "inputs": [tensor], "sequence_id": name, **flags}

    totals = [int(answer.as_numpy("total")[0, 0]) async for answer, _ in client.stream_infer(requests())]
    assert totals == [name * step for step in range(1, 21) for name in (1, 2, 3)]
