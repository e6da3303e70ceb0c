"""The Open Inference Protocol through the gateway: keys, limits, metering, and Triton's own clients unchanged."""

import asyncio
import gzip
import json
import queue
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conformance.onnx_graphs import add_one, write
from tests.conftest import Serve
from tests.support.clients import RawCall, request_bytes
from tests.support.python_models import write_model
from tests.support.server import Key, Polyforge
from tests.support.waiting import eventually

WANTED = "needs tritonclient, which `make test` installs"
http_client = pytest.importorskip("tritonclient.http", reason=WANTED)
http_aio = pytest.importorskip("tritonclient.http.aio", reason=WANTED)
grpc_client = pytest.importorskip("tritonclient.grpc", reason=WANTED)
grpc_aio = pytest.importorskip("tritonclient.grpc.aio", reason=WANTED)
utils = pytest.importorskip("tritonclient.utils", reason=WANTED)

pytestmark = pytest.mark.integration
CONFIG = 'platform: "onnxruntime_onnx" max_batch_size: 8'
EMBEDDER = "polyforge/static-minilm"
COUNTING = """
    class Model:
        inputs = {"count": ("INT32", [-1])}
        outputs = {"number": ("INT32", [-1])}

        def stream(self, inputs):
            for number in range(inputs["count"][0]):
                if number == 5:
                    raise ValueError("counting goes no further")
                yield {"number": [number]}
"""
# Sleeps for so long, or until somebody rings.
SLEEPING = """
    import os, time

    class Model:
        inputs = {"seconds": ("FP32", [-1])}
        outputs = {"seconds": ("FP32", [-1])}

        def predict(self, inputs):
            print("falls asleep", flush=True)
            end = time.monotonic() + float(inputs["seconds"][0])
            while time.monotonic() < end and not os.path.exists("BELL"):
                time.sleep(0.02)
            return inputs
"""
ROW = np.array([[1, 9, 3]], dtype=np.float32)
PRICE = 250_000


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class House:
    """A running installation with a repository of two models, and where it answers gRPC."""

    def __init__(self, server: Polyforge, grpc: int, bell: Path) -> None:
        self.server = server
        self.bell = bell
        self.http = server.url.removeprefix("http://")
        self.grpc = f"127.0.0.1:{grpc}"

    @property
    def admin(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.server.admin_key}"}

    @property
    def sleeps(self) -> int:
        """How often the model that sleeps has begun to."""
        return self.server.log.count("falls asleep")


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> House:
    repository = tmp_path_factory.mktemp("repository")
    for name in ("plus", "spare"):
        write(repository / name / "1", add_one())
        (repository / name / "config.pbtxt").write_text(CONFIG)
    grpc, bell = free_port(), repository.parent / "bell"
    sleeping = SLEEPING.replace("BELL", str(bell))
    models = {
        "priced": {
            "task": "inference",
            "deployments": [{"provider": "local", "model": "plus"}],
            "price": {"per_call": PRICE / 1_000_000},
        },
        "counting": {"task": "inference", "source": f"file://{write_model(repository.parent / 'counting', COUNTING)}"},
        "sleeping": {
            "task": "inference",
            "source": f"file://{write_model(repository.parent / 'sleeping', sleeping)}",
            "instances": 4,
        },
        "hosted elsewhere": {"deployments": [{"provider": "lab"}]},
    }
    lab = {"use": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-nothing-answers-here"}
    settings = {
        "providers": {"lab": lab},
        "models": models,
        "serving": {"repository": str(repository)},
        "server": {"grpc_port": grpc},
    }
    server = serve(settings)
    # One of its models raises on purpose, and what models write is logged.
    server.clean = False
    return House(server, grpc, bell)


@pytest.fixture
def key(house: House) -> Key:
    return house.server.create_key()


def bearer(key: Key) -> dict[str, str]:
    return {"authorization": f"Bearer {key.key}"}


def given(module: Any, values: np.ndarray = ROW, **form: bool) -> list[Any]:
    tensor = module.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, **form)
    return [tensor]


def texts(module: Any, *words: str, **form: bool) -> list[Any]:
    tensor = module.InferInput("text", [len(words)], "BYTES")
    tensor.set_data_from_numpy(np.array(words, dtype=np.object_), **form)
    return [tensor]


def test_http_client_works_unchanged(house: House, key: Key) -> None:
    mine = bearer(key)
    with http_client.InferenceServerClient(house.http) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("plus", headers={**mine})
        assert client.get_server_metadata(headers={**mine})["name"] == "polyforge"
        metadata = client.get_model_metadata("plus", headers={**mine})
        assert (metadata["name"], metadata["inputs"]) == (
            "plus",
            [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        )
        assert client.get_model_config("plus", headers={**mine})["max_batch_size"] == 8
        for form in (True, False):
            outputs = [http_client.InferRequestedOutput("y", binary_data=form)]
            answer = client.infer(
                "plus", given(http_client, binary_data=form), outputs=outputs, request_id="7", headers={**mine}
            )
            assert (answer.get_response()["id"], answer.get_response()["model_name"]) == ("7", "plus")
            np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)
        answer = client.infer("plus", given(http_client), model_version="1", headers={**mine})
        np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)
        for way in ("gzip", "deflate"):
            answer = client.infer(
                "plus",
                given(http_client),
                headers={**mine},
                request_compression_algorithm=way,
                response_compression_algorithm=way,
            )
            np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)
        (stats,) = client.get_inference_statistics("plus", headers={**mine})["model_stats"]
        assert (stats["name"], stats["inference_count"] >= 5) == ("plus", True)
        client.unregister_system_shared_memory(headers={**mine})


def test_strings_and_names_with_slashes_travel(house: House, key: Key) -> None:
    mine = bearer(key)
    with http_client.InferenceServerClient(house.http) as client:
        binary = client.infer(EMBEDDER, texts(http_client, "a word", "ein Wört"), headers={**mine})
        plain = client.infer(EMBEDDER, texts(http_client, "a word", "ein Wört", binary_data=False), headers={**mine})
        assert binary.get_response()["model_name"] == EMBEDDER
        assert client.get_model_metadata(EMBEDDER, headers={**mine})["name"] == EMBEDDER
    with grpc_client.InferenceServerClient(house.grpc) as client:
        over_grpc = client.infer(EMBEDDER, texts(grpc_client, "a word", "ein Wört"), headers={**mine})
        assert over_grpc.get_response().model_name == EMBEDDER
    for other in (plain, over_grpc):
        np.testing.assert_array_equal(binary.as_numpy("embedding"), other.as_numpy("embedding"))
    records = house.server.settled(key, 3)
    assert [record["model"] for record in records] == [EMBEDDER] * 3
    assert {record["input_tokens"] for record in records} == {int(binary.as_numpy("tokens").sum())}


async def test_aio_clients_work_unchanged(house: House, key: Key) -> None:
    mine = bearer(key)
    async with http_aio.InferenceServerClient(house.http) as client:
        answers = await asyncio.gather(*(client.infer("plus", given(http_aio), headers={**mine}) for _ in range(8)))
    async with grpc_aio.InferenceServerClient(house.grpc) as client:
        answers += await asyncio.gather(*(client.infer("plus", given(grpc_aio), headers={**mine}) for _ in range(8)))
    for answer in answers:
        np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)


async def test_grpc_client_works_unchanged(house: House, key: Key) -> None:
    mine = {"x-api-key": key.key}
    async with grpc_aio.InferenceServerClient(house.grpc) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("plus", headers={**mine})
        assert (await client.get_server_metadata(headers={**mine})).name == "polyforge"
        assert list((await client.get_model_metadata("plus", headers={**mine})).versions) == ["1"]
        assert (await client.get_model_config("plus", headers={**mine})).config.max_batch_size == 8
        answer = await client.infer("plus", given(grpc_aio), request_id="7", headers={**mine})
        assert (answer.get_response().id, answer.get_response().model_name) == ("7", "plus")
        assert (await client.get_inference_statistics("plus", headers={**mine})).model_stats[0].name == "plus"
        names = {entry.name for entry in (await client.get_model_repository_index(headers={**mine})).models}
        assert {"plus", "priced", EMBEDDER} <= names


async def test_grpc_streams_and_each_request_is_metered(house: House, key: Key) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(12):
            values = np.full((1, 3), number, np.float32)
            name = "priced" if number != 5 else "no"
            yield {"model_name": name, "inputs": given(grpc_aio, values), "request_id": str(number)}

    async with grpc_aio.InferenceServerClient(house.grpc) as client:
        seen = [answer async for answer in client.stream_infer(requests(), headers=bearer(key))]
    for number, (answer, error) in enumerate(seen):
        if number == 5:
            assert "unknown model: 'no'" in str(error)
            continue
        assert (error, answer.get_response().id) == (None, str(number))
        np.testing.assert_array_equal(answer.as_numpy("y"), np.full((1, 3), number + 1))
    # What was refused is no call, and costs nothing.
    assert [record["price_micros"] for record in house.server.settled(key, 11)] == [PRICE] * 11


def count(module: Any, numbers: int) -> list[Any]:
    tensor = module.InferInput("count", [1], "INT32")
    tensor.set_data_from_numpy(np.array([numbers], dtype=np.int32))
    return [tensor]


async def test_a_model_that_streams_gives_many_answers_to_one_request(house: House, key: Key) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "counting", "inputs": count(grpc_aio, 3), "request_id": "three"}
        yield {"model_name": "plus", "inputs": given(grpc_aio), "request_id": "one"}
        yield {"model_name": "counting", "inputs": count(grpc_aio, 9), "request_id": "nine"}

    seen: list[tuple[str, list[int], bool]] = []
    errors: list[str] = []
    async with grpc_aio.InferenceServerClient(house.grpc) as client:
        assert (
            await client.get_model_config("counting", headers=bearer(key))
        ).config.model_transaction_policy.decoupled
        async for answer, error in client.stream_infer(requests(), headers=bearer(key)):
            if error is not None:
                errors.append(str(error))
                continue
            response = answer.get_response()
            numbers = [] if not response.outputs or response.id == "one" else answer.as_numpy("number").tolist()
            seen.append((response.id, numbers, response.parameters["triton_final_response"].bool_param))
    three = [("three", [number], False) for number in range(3)]
    nine = [("nine", [number], False) for number in range(5)]
    assert seen == [*three, ("one", [], True), *nine]
    assert len(errors) == 1
    assert sorted(record["status"] for record in house.server.settled(key, 3)) == ["error", "ok", "ok"]


def test_the_end_of_many_answers_is_told_to_who_asks(house: House, key: Key) -> None:
    seen: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with grpc_client.InferenceServerClient(house.grpc) as client:
        client.start_stream(lambda result, error: seen.put((result, error)), headers=bearer(key))
        client.async_stream_infer("counting", count(grpc_client, 2), enable_empty_final_response=True)
        answers = [seen.get(timeout=30) for _ in range(3)]
        client.stop_stream()
    assert [error for _, error in answers] == [None, None, None]
    responses = [answer.get_response() for answer, _ in answers]
    assert [len(response.outputs) for response in responses] == [1, 1, 0]
    assert [response.parameters["triton_final_response"].bool_param for response in responses] == [False, False, True]


def test_nobody_gets_in_without_a_key(house: House) -> None:
    assert house.server.call("/v2/health/live", method="GET").json == {"live": True}
    assert house.server.call("/v2/health/ready", method="GET").json == {"ready": True}
    for path in ("/v2", "/v2/models/plus", "/v2/models/plus/config", "/v2/models/plus/stats"):
        refused = house.server.call(path, method="GET")
        assert (refused.status, list(refused.json)) == (401, ["error"])
    with grpc_client.InferenceServerClient(house.grpc) as client:
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer("plus", given(grpc_client))
        assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
    with (
        http_client.InferenceServerClient(house.http) as client,
        pytest.raises(utils.InferenceServerException, match="no API key"),
    ):
        client.infer("plus", given(http_client))


def test_a_key_sees_only_its_models(house: House) -> None:
    mine = bearer(house.server.create_key(models=["plus"]))
    with http_client.InferenceServerClient(house.http) as client:
        assert [entry["name"] for entry in client.get_model_repository_index(headers={**mine})] == ["plus"]
        client.infer("plus", given(http_client), headers={**mine})
        for name in ("spare", "priced", "none", "hosted elsewhere"):
            with pytest.raises(
                utils.InferenceServerException, match=f"Request for unknown model: '{name}' is not found"
            ):
                client.infer(name, given(http_client), headers={**mine})
            assert not client.is_model_ready(name, headers={**mine})
    with grpc_client.InferenceServerClient(house.grpc) as client:
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer("spare", given(grpc_client), headers={**mine})
        assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_a_providers_model_is_refused_by_name(house: House, key: Key) -> None:
    with (
        http_client.InferenceServerClient(house.http) as client,
        pytest.raises(utils.InferenceServerException, match="'hosted elsewhere' is a provider's"),
    ):
        client.infer("hosted elsewhere", given(http_client), headers=bearer(key))


def test_limits_and_budgets_hold(house: House) -> None:
    few = bearer(house.server.create_key(rpm=2))
    poor = house.server.create_key(budget_usd=2.5 * PRICE / 1_000_000)
    with http_client.InferenceServerClient(house.http) as client:
        for _ in range(2):
            client.infer("plus", given(http_client), headers={**few})
            client.infer("priced", given(http_client), headers=bearer(poor))
        with pytest.raises(utils.InferenceServerException, match="2 requests per minute"):
            client.infer("plus", given(http_client), headers={**few})
        with pytest.raises(utils.InferenceServerException, match="the budget of this key"):
            client.infer("priced", given(http_client), headers=bearer(poor))
    with grpc_client.InferenceServerClient(house.grpc) as client:
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer("priced", given(grpc_client), headers=bearer(poor))
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert [record["price_micros"] for record in house.server.settled(poor, 2)] == [PRICE, PRICE]


def test_loading_is_for_operators(house: House, key: Key) -> None:
    developer = bearer(house.server.create_key(scopes=["inference", "models:read", "models:write"]))
    with http_client.InferenceServerClient(house.http) as client:
        for refused in (bearer(key), developer):
            with pytest.raises(utils.InferenceServerException, match="models:operate"):
                client.unload_model("spare", headers={**refused})
            with pytest.raises(utils.InferenceServerException, match="models:operate"):
                client.get_inference_statistics(headers={**refused})
        client.unload_model("spare", headers=house.admin)
        assert not client.is_model_ready("spare", headers=bearer(key))
        with pytest.raises(utils.InferenceServerException, match="not ready") as caught:
            client.infer("spare", given(http_client), headers=bearer(key))
        assert caught.value.status() == "503"
        client.load_model("spare", headers=house.admin)
        assert client.is_model_ready("spare", headers=bearer(key))
        assert len(client.get_inference_statistics(headers=house.admin)["model_stats"]) >= 3
    events = house.server.api("GET", "/audit?limit=50").json["data"]
    mine = [event["action"] for event in events if event["resource_id"] == "spare"]
    assert mine[:2] == ["hosted_model.load_asked", "hosted_model.unload_asked"]
    with grpc_client.InferenceServerClient(house.grpc) as client:
        with pytest.raises(utils.InferenceServerException) as refusal:
            client.load_model("spare", headers=bearer(key))
        assert refusal.value.status() == "StatusCode.PERMISSION_DENIED"
        client.load_model("spare", config=json.dumps({"max_batch_size": 4}), headers=house.admin)
        assert client.get_model_config("spare", headers=bearer(key)).config.max_batch_size == 4


def test_a_model_loaded_from_a_request_answers_at_once(house: House, key: Key) -> None:
    graph = add_one().SerializeToString()
    with http_client.InferenceServerClient(house.http) as client:
        with pytest.raises(utils.InferenceServerException, match="unknown model: 'fresh'"):
            client.infer("fresh", given(http_client), headers=bearer(key))
        config = json.dumps({"backend": "onnxruntime", "max_batch_size": 8})
        client.load_model("fresh", config=config, files={"file:1/model.onnx": graph}, headers=house.admin)
        answer = client.infer("fresh", given(http_client), headers=bearer(key))
    np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)


KSERVE_BINARY = (
    b'{"id":"7","model_name":"plus","inputs":[{"name":"x","shape":[1,3],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":12}}],"parameters":{"binary_data_output":true}}'
)
KSERVE_JSON = {
    "id": "7",
    "model_name": "plus",
    "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 9.0, 3.0]}],
    "parameters": {"binary_data_output": False},
}


def test_kserves_client_is_understood(house: House, key: Key) -> None:
    """What the REST client of kserve 0.21 sends, and how it reads the answer; itself it pins what we cannot have."""
    with httpx.Client(base_url=house.server.url, headers=bearer(key)) as client:
        assert client.get("/v2/health/live").json().get("live") is True
        assert client.get("/v2/health/ready").json().get("ready") is True
        assert client.get("/v2/models/plus/ready").is_success
        length = {
            "Inference-Header-Content-Length": str(len(KSERVE_BINARY)),
            "content-type": "application/octet-stream",
        }
        binary = client.post("/v2/models/plus/infer", content=KSERVE_BINARY + ROW.tobytes(), headers=length)
        cut = int(binary.headers["Inference-Header-Content-Length"])
        head = json.loads(binary.content[:cut])
        assert (head["id"], head["model_name"], head["outputs"][0]["parameters"]) == (
            "7",
            "plus",
            {"binary_data_size": 12},
        )
        np.testing.assert_array_equal(np.frombuffer(binary.content[cut:], np.float32), (ROW + 1)[0])
        plain = client.post("/v2/models/plus/infer", json=KSERVE_JSON)
        assert "Inference-Header-Content-Length" not in plain.headers
        assert plain.json()["outputs"][0]["data"] == [2.0, 10.0, 4.0]
        raw = client.post(
            "/v2/models/plus/infer", content=ROW.tobytes(), headers={"Inference-Header-Content-Length": "0"}
        )
        assert raw.content.endswith((ROW + 1).tobytes())
        refused = client.post("/v2/models/no/infer", json=KSERVE_JSON)
        # It shows the words only where the type is exactly this.
        assert (refused.status_code, refused.headers["content-type"]) == (404, "application/json")
        assert refused.json()["error"] == "Request for unknown model: 'no' is not found"


def seconds(module: Any, value: float) -> list[Any]:
    tensor = module.InferInput("seconds", [1], "FP32")
    tensor.set_data_from_numpy(np.array([value], dtype=np.float32))
    return [tensor]


@pytest.fixture
def sleepy(house: House) -> Iterator[House]:
    """Its model that sleeps does so until the test is over."""
    house.bell.unlink(missing_ok=True)
    yield house
    house.bell.touch()


def test_who_hangs_up_is_written_down_as_gone(sleepy: House, key: Key) -> None:
    house = sleepy
    tensor = {"name": "seconds", "shape": [1], "datatype": "FP32", "data": [60.0]}
    request = request_bytes("POST", "/v2/models/sleeping/infer", key=key.key, json={"inputs": [tensor]})
    before = house.sleeps
    with RawCall(house.server.url, request):
        eventually(lambda: house.sleeps > before, "the call being under way")
    with grpc_client.InferenceServerClient(house.grpc) as client:
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer("sleeping", seconds(grpc_client, 60), client_timeout=3, headers=bearer(key))
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert [record["status"] for record in house.server.settled(key, 2)] == ["cancelled", "cancelled"]


def test_concurrency_holds_over_both_protocols(sleepy: House) -> None:
    house = sleepy
    one = house.server.create_key(concurrency=1)
    outcomes: list[str] = []
    with grpc_client.InferenceServerClient(house.grpc) as client:
        slow = threading.Thread(
            target=lambda: client.infer("sleeping", seconds(grpc_client, 60), headers=bearer(one)), daemon=True
        )
        before = house.sleeps
        slow.start()
        eventually(lambda: house.sleeps > before, "the call being under way")
        with http_client.InferenceServerClient(house.http) as other:
            try:
                other.infer("plus", given(http_client), headers=bearer(one))
            except utils.InferenceServerException as refusal:
                outcomes.append(refusal.status())
        house.bell.touch()
        slow.join(30)
    assert outcomes == ["429"]


def test_generate_streams_events(house: House, key: Key) -> None:
    body = {"id": "9", "text": "a word"}
    whole = house.server.call(f"/v2/models/{EMBEDDER}/generate", key=key.key, method="POST", json=body)
    assert (whole.status, whole.json["model_name"], len(whole.json["embedding"])) == (200, EMBEDDER, 256)
    streamed = house.server.call(f"/v2/models/{EMBEDDER}/generate_stream", key=key.key, method="POST", json=body)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    (event,) = streamed.chunks
    assert event == whole.json
    assert {record["stream"] for record in house.server.settled(key, 2)} == {0, 1}


def test_what_is_wrong_is_told_in_tritons_words(house: House, key: Key) -> None:
    call = house.server.call
    for path, method, body, status, words in (
        ("/v2/models/plus/infer", "GET", None, 405, "Method Not Allowed"),
        ("/v2/nothing", "GET", None, 404, "Not Found"),
        ("/v2/models/plus/versions/7/infer", "POST", {"inputs": []}, 404, "unknown model: 'plus' version 7"),
        ("/v2/models/plus/infer", "POST", {"inputs": []}, 400, "expected 1 inputs but got 0 inputs for model 'plus'"),
        (
            "/v2/models/priced/infer",
            "POST",
            {"inputs": []},
            400,
            "expected 1 inputs but got 0 inputs for model 'priced'",
        ),
        ("/v2/logging", "GET", None, 501, "logging settings"),
        ("/v2/repository/index", "POST", {"ready": 3}, 400, "Invalid value for 'ready'"),
    ):
        refused = call(path, key=key.key, method=method, json=body)
        assert (refused.status, words in refused.json["error"]) == (status, True), refused.body


def test_what_callers_ask_wrongly_is_not_held_against_a_model(house: House, key: Key) -> None:
    with http_client.InferenceServerClient(house.http) as client:
        for _ in range(5):
            with pytest.raises(utils.InferenceServerException, match="version 7 is not found"):
                client.infer("plus", given(http_client), model_version="7", headers=bearer(key))
        np.testing.assert_array_equal(
            client.infer("plus", given(http_client), headers=bearer(key)).as_numpy("y"), ROW + 1
        )


def test_tritons_metrics_are_on_the_gateways_page(house: House, key: Key) -> None:
    with http_client.InferenceServerClient(house.http) as client:
        client.infer("plus", given(http_client), headers=bearer(key))
    page = house.server.call("/metrics", method="GET").body.decode()
    assert 'nv_inference_request_success{model="plus",version="1"}' in page
    assert "# TYPE polyforge_requests_total counter" in page
    kinds = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds))


def test_nothing_broke_but_what_a_model_raised_itself(house: House) -> None:
    broken = [line for line in house.server.log.splitlines() if "Traceback" in line and '"a model wrote"' not in line]
    assert not broken


@pytest.fixture(scope="module")
def narrow(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> House:
    """Two workers that take small requests."""
    grpc, bell = free_port(), tmp_path_factory.mktemp("narrow") / "bell"
    server = serve({"server": {"grpc_port": grpc}, "serving": {"max_request_bytes": 4096}}, workers=2)
    return House(server, grpc, bell)


def test_large_requests_are_refused_compressed_or_not(narrow: House) -> None:
    key = narrow.server.create_key()
    path, head = f"/v2/models/{EMBEDDER}/infer", {"content-type": "application/json"}
    large = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x" * 5000]}]}).encode()
    with httpx.Client(base_url=narrow.server.url, headers={**bearer(key), **head}) as client:
        for body, encoding in ((large, "identity"), (gzip.compress(large), "gzip"), (zlib.compress(large), "deflate")):
            refused = client.post(path, content=body, headers={"content-encoding": encoding})
            assert refused.status_code == 400
            assert "exceeds the maximum allowed input size" in refused.json()["error"]
        damaged = client.post(path, content=gzip.compress(large)[:20], headers={"content-encoding": "gzip"})
        assert (damaged.status_code, damaged.json()["error"]) == (400, "the compressed request body is cut off")
    with grpc_client.InferenceServerClient(narrow.grpc) as client:
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer(EMBEDDER, texts(grpc_client, "x" * 5000), headers=bearer(key))
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_every_worker_answers_on_the_one_port(narrow: House) -> None:
    server = narrow.server
    key = server.create_key()
    for _ in range(20):
        with grpc_client.InferenceServerClient(narrow.grpc) as client:
            answer = client.infer(EMBEDDER, texts(grpc_client, "a word"), headers=bearer(key))
            assert answer.as_numpy("embedding").shape == (1, 256)
    server.settled(key, 20)
    assert {line.split('"process":"')[1].split('"')[0] for line in server.log.splitlines() if key.id in line} == {
        "gateway-0",
        "gateway-1",
    }
