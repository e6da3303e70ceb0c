"""The host's routes, called as an ASGI server calls them."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from polyforge.dialects import oip
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Tensor
from polyforge.ports.model_backend import ProcessFacts
from polyforge.serving.api import OipApp
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import Scheduler
from tests.support.waiting import eventually_async
from tests.unit.serving.backends import POISON, Adder, numbers_of

MAX_BODY = 100_000
MAX_ROWS = 100


class Host:
    """An app over two models, one of them broken, with its requests as plain calls."""

    def __init__(self) -> None:
        self.backend = Adder()
        broken = Adder(load_error=Invalid("config.json: is no JSON"))
        self.repository = Repository([HostedModel("team/adder", self.backend), HostedModel("broken", broken)])
        self.scheduler = Scheduler(threads=1, max_queue=1)
        self.app = OipApp(
            self.repository, self.scheduler, version="9", max_rows=MAX_ROWS, timeout=20, max_body_bytes=MAX_BODY
        )

    def load(self) -> None:
        for model in self.repository:
            model.load()

    async def call(
        self, method: str, path: str, body: bytes = b"", parts: int = 1, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        size = max(1, -(-len(body) // parts))
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        messages = [
            {"type": "http.request", "body": piece, "more_body": place < len(pieces) - 1}
            for place, piece in enumerate(pieces)
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()
            return {}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": given}
        await self.app(scope, receive, send)
        start, end = sent
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        assert int(answered["content-length"]) == len(end["body"])
        return start["status"], answered, end["body"]

    async def add(self, *numbers: int, path: str = "/v2/models/team%2Fadder/infer") -> tuple[int, dict[str, str], Any]:
        body = json.dumps({"inputs": [{"name": "x", "shape": [len(numbers)], "datatype": "INT64", "data": numbers}]})
        status, headers, answer = await self.call("POST", path, body.encode())
        return status, headers, json.loads(answer)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    host.load()
    host.scheduler.open()
    yield host
    await host.scheduler.close()


async def test_json_in_json_out(host: Host) -> None:
    status, _, answer = await host.add(1, 2)
    assert status == 200
    assert answer == {
        "model_name": "team/adder",
        "model_version": "1",
        "outputs": [{"name": "y", "shape": [2], "datatype": "INT64", "data": [2, 3]}],
    }


@pytest.mark.parametrize("parts", [1, 7])
async def test_binary_in_binary_out(host: Host, parts: int) -> None:
    sent = oip.encode_request([Tensor("x", "INT64", (2,), struct.pack("<2q", 5, 6))], request_id="r")
    headers = {"inference_header_content_length": str(sent.header_length)}
    status, answered, body = await host.call("POST", "/v2/models/team%2Fadder/infer", sent.join(), parts, **headers)
    assert status == 200
    assert answered["content-type"] == "application/octet-stream"
    response = oip.decode_response(body, int(answered["inference-header-content-length"]))
    assert response.id == "r"
    assert numbers_of(response.outputs["y"]) == [6, 7]


async def test_a_raw_body_is_the_only_input(host: Host) -> None:
    body = struct.pack("<q", 41)
    status, answered, answer = await host.call(
        "POST", "/v2/models/team%2Fadder/versions/1/infer", body, inference_header_content_length="0"
    )
    assert status == 200
    response = oip.decode_response(answer, int(answered["inference-header-content-length"]))
    assert numbers_of(response.outputs["y"]) == [42]


class Away(Adder):
    """Computes in processes, all of which are gone for a while."""

    processes = ProcessFacts(0, 0, 0, {})
    back_in: float | None = None


async def test_a_model_whose_processes_are_gone_is_not_ready_and_the_host_is() -> None:
    host = Host()
    away = Away()
    host.repository.put(HostedModel("away", away))
    host.load()

    async def seen() -> tuple[int, str | None, str]:
        status, headers, _ = await host.call("GET", "/v2/models/away/ready")
        (entry,) = [entry for entry in host.app.index(only_ready=False) if entry.name == "away"]
        return status, headers.get("retry-after"), entry.state

    assert await seen() == (200, None, "READY")
    away.back_in = 7.2
    assert await seen() == (503, "8", "LOADING")
    assert "away" not in [entry.name for entry in host.app.index(only_ready=True)]
    assert (await host.call("GET", "/v2/health/ready"))[0] == 200
    away.back_in = None
    assert await seen() == (200, None, "READY")


async def test_metadata_health_and_readiness(host: Host) -> None:
    async def get(path: str) -> tuple[int, Any]:
        status, _, body = await host.call("GET", path)
        return status, json.loads(body)

    assert await get("/v2/health/live") == (200, {"live": True})
    assert await get("/v2/health/ready") == (200, {"ready": True})
    assert (await get("/v2"))[1]["version"] == "9"
    assert await get("/v2/models/team%2Fadder") == (
        200,
        {
            "name": "team/adder",
            "versions": ["1"],
            "platform": "adder",
            "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
        },
    )
    assert await get("/v2/models/team%2Fadder/ready") == (200, {"name": "team/adder", "ready": True})
    assert await get("/v2/models/broken/ready") == (503, {"name": "broken", "ready": False})
    host.app.drain()
    assert await get("/v2/health/ready") == (503, {"ready": False})
    assert await get("/v2/health/live") == (200, {"live": True})


async def test_statistics_and_metrics_count_what_happened(host: Host) -> None:
    await host.add(1, 2, 3)
    await host.add(-1)
    _, _, body = await host.call("GET", "/v2/models/team%2Fadder/stats")
    (stats,) = json.loads(body)["model_stats"]
    assert (stats["inference_count"], stats["execution_count"]) == (3, 2)
    _, _, body = await host.call("GET", "/v2/models/stats")
    assert [each["name"] for each in json.loads(body)["model_stats"]] == ["team/adder", "broken"]
    _, headers, body = await host.call("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain")
    assert b'nv_inference_count{model="team/adder",version="1"} 3' in body


async def test_the_index_tells_states_and_reasons(host: Host) -> None:
    _, _, body = await host.call("POST", "/v2/repository/index")
    assert [(each["name"], each["state"], each["reason"]) for each in json.loads(body)] == [
        ("team/adder", "READY", ""),
        ("broken", "UNAVAILABLE", "config.json: is no JSON"),
    ]
    _, _, body = await host.call("POST", "/v2/repository/index", b'{"ready": true}')
    assert [each["name"] for each in json.loads(body)] == ["team/adder"]


async def test_a_model_that_could_not_be_loaded_answers_503_with_its_reason(host: Host) -> None:
    status, _, answer = await host.add(1, path="/v2/models/broken/infer")
    assert status == 503
    assert answer == {"error": "model 'broken' is not ready: config.json: is no JSON"}


async def test_a_model_that_is_loading_answers_503_for_now() -> None:
    host = Host()
    status, headers, _ = await host.add(1)
    assert (status, headers["retry-after"]) == (503, "1")
    status, _, _ = await host.call("GET", "/v2/health/ready")
    assert status == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/nope", 404),
        ("POST", "/v2/models/nope/infer", 404),
        ("POST", "/v2/models/team%2Fadder/versions/2/infer", 404),
        ("GET", "/v2/models/team%2Fadder/nothing", 404),
        ("GET", "/v2/models/team%2Fadder/infer/more", 404),
        ("GET", "/v2/models/team/adder", 404),
        ("GET", "/v2/models/%ff%00", 404),
        ("GET", "/v2/models/team%2Fadder/infer", 405),
        ("POST", "/v2/models/team%2Fadder", 405),
        ("DELETE", "/v2", 405),
        ("POST", "/metrics", 405),
        ("GET", "/v2/repository/index", 405),
    ],
)
async def test_other_paths_and_verbs_are_refused(host: Host, method: str, path: str, status: int) -> None:
    got, _, body = await host.call(method, path)
    assert got == status
    assert json.loads(body)["error"]


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"", {}, "JSON"),
        (b"{}", {}, "inputs"),
        (b'{"inputs": []}', {}, "missing required input"),
        (b'{"inputs": [{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}', {}, "expects 'INT64'"),
        (b'{"inputs": [{"name":"x","shape":[1],"datatype":"INT64","data":[-1]}]}', {}, "must not be negative"),
        (b'{"inputs": [], "parameters": {"timeout": -1}}', {}, "missing required input"),
        (
            b'{"inputs": [{"name":"x","shape":[1],"datatype":"INT64","data":[1]}],"parameters":{"timeout":"1"}}',
            {},
            "timeout",
        ),
        (b"{}", {"inference_header_content_length": "99"}, "Inference-Header-Content-Length"),
        (b"{}", {"content_encoding": "gzip"}, "compressed"),
        (b"x" * (MAX_BODY + 1), {}, "exceeds the maximum allowed"),
        (b"", {"content_length": str(MAX_BODY + 1)}, "exceeds the maximum allowed"),
    ],
)
async def test_wrong_requests_are_400_with_a_reason(
    host: Host, body: bytes, headers: dict[str, str], reason: str
) -> None:
    status, _, answer = await host.call("POST", "/v2/models/team%2Fadder/infer", body, 3, **headers)
    assert status == 400
    assert reason in json.loads(answer)["error"]


async def test_an_error_names_its_field_in_a_header(host: Host) -> None:
    _, headers, _ = await host.add(-1)
    assert headers["x-polyforge-param"] == "x"


async def test_more_rows_than_the_host_takes_are_refused(host: Host) -> None:
    status, _, answer = await host.add(*range(MAX_ROWS + 1))
    assert status == 400
    assert "batch-size must be <= 100" in answer["error"]
    assert (await host.add(*range(MAX_ROWS)))[0] == 200


async def test_what_breaks_the_backend_is_an_opaque_500(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    status, _, answer = await host.add(POISON)
    assert status == 500
    assert "poison" not in answer["error"]
    assert caplog.records


async def test_a_full_queue_is_503_with_retry_after(host: Host) -> None:
    host.backend.gate.clear()
    running = asyncio.create_task(host.add(1))
    await eventually_async(lambda: host.backend.batches, "one runs")
    waiting = asyncio.create_task(host.add(2))
    model = host.repository.find("team/adder")
    await eventually_async(lambda: host.scheduler.waiting(model), "one waits")
    status, headers, _ = await host.add(3)
    assert (status, headers["retry-after"]) == (503, "1")
    host.backend.gate.set()
    assert (await running)[2]["outputs"][0]["data"] == [2]
    assert (await waiting)[2]["outputs"][0]["data"] == [3]


async def test_big_bodies_both_ways_are_the_same_answer(host: Host) -> None:
    app = OipApp(host.repository, host.scheduler, version="9", max_rows=10**6, timeout=20)
    host.app = app
    numbers = range(1_000, 300_000)
    _, _, answer = await host.add(*numbers)
    assert answer["outputs"][0]["data"] == [number + 1 for number in numbers]
