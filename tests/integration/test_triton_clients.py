"""Triton's own clients, unchanged, against the host's HTTP and gRPC servers over real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from polyforge.adapters.model_backends.static_embedding import Settings, StaticEmbedding
from polyforge.serving.repository import HostedModel
from polyforge.serving.sources import BUILT_IN_FOLDER
from polyforge.wiring.http_connection import HttpConnection
from tests.unit.serving.backends import POISON, Adder, hosted
from tests.unit.serving.triton.engines import write_model
from tests.unit.serving.triton.hosts import ENSEMBLE, IO, TritonHost

WANTED = "needs tritonclient, which `make test` installs"
http_client = pytest.importorskip("tritonclient.http", reason=WANTED)
http_aio = pytest.importorskip("tritonclient.http.aio", reason=WANTED)
grpc_client = pytest.importorskip("tritonclient.grpc", reason=WANTED)
grpc_aio = pytest.importorskip("tritonclient.grpc.aio", reason=WANTED)
utils = pytest.importorskip("tritonclient.utils", reason=WANTED)

from polyforge.adapters.listeners.grpc import GrpcListener  # noqa: E402  the library may be missing
from polyforge.adapters.listeners.grpc import Settings as GrpcSettings  # noqa: E402

pytestmark = pytest.mark.integration
ROW = np.array([[1, 9, 3, 4]], dtype=np.float32)


class Ports:
    """A served host and where it answers."""

    def __init__(self, host: TritonHost, http: str, grpc: str) -> None:
        self.host = host
        self.http = http
        self.grpc = grpc


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[Ports]:
    host = TritonHost(tmp_path)
    host.scheduler.open()
    labelled = IO + 'parameters { key: "a" value { string_value: "b" } }'
    for name in ("m", "first", "second"):
        write_model(host.folder, name, labelled)
    write_model(host.folder, "both", ENSEMBLE, versions=())
    await host.control.load_all()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(host.app, http=HttpConnection, log_config=None, lifespan="off"))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    grpc = GrpcListener(GrpcSettings(host="127.0.0.1", port=0), host.app)
    await grpc.open()
    yield Ports(host, f"127.0.0.1:{listener.getsockname()[1]}", f"127.0.0.1:{grpc.port}")
    await grpc.close()
    server.should_exit = True
    await serving
    await host.scheduler.close()


def given(module: Any, values: np.ndarray = ROW, **form: bool) -> list[Any]:
    tensor = module.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, **form)
    return [tensor]


async def test_http_infers_in_binary_and_in_json(ports: Ports) -> None:
    def calls() -> None:
        with http_client.InferenceServerClient(ports.http) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("m")
            assert "classification" in client.get_server_metadata()["extensions"]
            assert client.get_model_metadata("m")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
            assert client.get_model_config("m")["max_batch_size"] == 4
            answer = client.infer("m", given(http_client), request_id="7")
            assert answer.get_response()["id"] == "7"
            np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)
            outputs = [http_client.InferRequestedOutput("y", binary_data=False)]
            answer = client.infer("m", given(http_client, binary_data=False), outputs=outputs)
            np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)
            answer = client.infer("both", [_renamed(given(http_client)[0], "a", http_client)])
            np.testing.assert_array_equal(answer.as_numpy("c"), ROW + 2)
            answer = client.infer("m", given(http_client), request_compression_algorithm="gzip")
            np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)

    await asyncio.to_thread(calls)


async def test_http_tells_classes_statistics_and_errors(ports: Ports) -> None:
    def calls() -> None:
        with http_client.InferenceServerClient(ports.http) as client:
            outputs = [http_client.InferRequestedOutput("y", class_count=2)]
            answer = client.infer("m", given(http_client), outputs=outputs)
            assert answer.as_numpy("y").tolist() == [[b"10.000000:1", b"5.000000:3"]]
            (stats,) = client.get_inference_statistics("m")["model_stats"]
            assert (stats["inference_count"], stats["inference_stats"]["success"]["count"]) == (1, 1)
            with pytest.raises(utils.InferenceServerException, match="Request for unknown model: 'no' is not found"):
                client.infer("no", given(http_client))
            with pytest.raises(utils.InferenceServerException, match="batch-size must be <= 4"):
                client.infer("m", given(http_client, np.zeros((5, 4), np.float32)))
            client.unregister_system_shared_memory()
            client.unregister_cuda_shared_memory()

    await asyncio.to_thread(calls)


async def test_http_loads_and_unloads(ports: Ports) -> None:
    def calls() -> None:
        with http_client.InferenceServerClient(ports.http) as client:
            client.unload_model("m")
            assert not client.is_model_ready("m")
            client.load_model("m")
            assert client.is_model_ready("m")
            client.load_model("m", config=json.dumps({"backend": "onnxruntime", "max_batch_size": 2}))
            assert client.get_model_config("m")["max_batch_size"] == 2
            files = {"file:1/model.onnx": b"graph"}
            client.load_model("new", config=json.dumps({"backend": "onnxruntime"}), files=files)
            index = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
            assert index == dict.fromkeys(("m", "first", "second", "both", "new"), "READY")
            with pytest.raises(utils.InferenceServerException, match="failed to poll from model repository"):
                client.load_model("none")

    await asyncio.to_thread(calls)


async def test_http_aio_infers(ports: Ports) -> None:
    async with http_aio.InferenceServerClient(ports.http) as client:
        answers = await asyncio.gather(*(client.infer("m", given(http_aio)) for _ in range(8)))
    for answer in answers:
        np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)


async def test_grpc_infers_and_tells(ports: Ports) -> None:
    async with grpc_aio.InferenceServerClient(ports.grpc) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("m", "1")
        assert (await client.get_server_metadata()).name == "polyforge"
        metadata = await client.get_model_metadata("m")
        assert (metadata.name, list(metadata.versions), list(metadata.inputs[0].shape)) == ("m", ["1"], [-1, 4])
        config = (await client.get_model_config("m")).config
        assert (config.max_batch_size, config.parameters["a"].string_value) == (4, "b")
        answer = await client.infer("m", given(grpc_aio), request_id="7")
        assert answer.get_response().id == "7"
        np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)
        outputs = [grpc_aio.InferRequestedOutput("y", class_count=1)]
        answer = await client.infer("m", given(grpc_aio), outputs=outputs)
        assert answer.as_numpy("y").tolist() == [[b"10.000000:1"]]
        stats = (await client.get_inference_statistics("m")).model_stats[0]
        assert (stats.inference_count, stats.inference_stats.success.count) == (2, 2)
        assert len((await client.get_inference_statistics()).model_stats) == 4
        await client.unregister_system_shared_memory()
        assert not (await client.get_cuda_shared_memory_status()).regions


async def test_grpc_errors_have_tritons_codes(ports: Ports) -> None:
    async with grpc_aio.InferenceServerClient(ports.grpc) as client:
        for name, values, code, words in (
            ("no", ROW, "NOT_FOUND", "Request for unknown model: 'no' is not found"),
            ("m", np.zeros((5, 4), np.float32), "INVALID_ARGUMENT", "batch-size must be <= 4"),
        ):
            with pytest.raises(utils.InferenceServerException) as caught:
                await client.infer(name, given(grpc_aio, values))
            assert caught.value.status() == f"StatusCode.{code}"
            assert words in caught.value.message()
        await client.unload_model("m")
        with pytest.raises(utils.InferenceServerException) as caught:
            await client.infer("m", given(grpc_aio))
        assert caught.value.status() == "StatusCode.UNAVAILABLE"


async def test_grpc_loads_and_unloads(ports: Ports) -> None:
    async with grpc_aio.InferenceServerClient(ports.grpc) as client:
        await client.unload_model("both", unload_dependents=True)
        index = {entry.name: entry.state for entry in (await client.get_model_repository_index()).models}
        assert index == {"m": "READY", "both": "UNAVAILABLE", "first": "UNAVAILABLE", "second": "UNAVAILABLE"}
        await client.load_model("both")
        assert await client.is_model_ready("first")
        files = {"file:1/model.onnx": b"graph"}
        await client.load_model("new", config=json.dumps({"backend": "onnxruntime"}), files=files)
        assert await client.is_model_ready("new")


async def test_grpc_streams_answers_in_order_and_errors_do_not_end_it(ports: Ports) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(20):
            values = np.full((1, 4), number, np.float32)
            name = "m" if number != 7 else "no"
            yield {"model_name": name, "inputs": given(grpc_aio, values), "request_id": str(number)}

    async with grpc_aio.InferenceServerClient(ports.grpc) as client:
        seen = [answer async for answer in client.stream_infer(requests())]
    assert len(seen) == 20
    for number, (answer, error) in enumerate(seen):
        if number == 7:
            assert "unknown model: 'no'" in str(error)
            continue
        assert (error, answer.get_response().id) == (None, str(number))
        assert answer.get_response().parameters["triton_final_response"].bool_param
        np.testing.assert_array_equal(answer.as_numpy("y"), np.full((1, 4), number + 1))


async def test_a_stream_may_be_long_and_may_be_left(ports: Ports) -> None:
    async def requests(count: int) -> AsyncIterator[dict[str, Any]]:
        for number in range(count):
            yield {"model_name": "m", "inputs": given(grpc_aio), "request_id": str(number)}

    async with grpc_aio.InferenceServerClient(ports.grpc) as client:
        seen = [answer.get_response().id async for answer, _ in client.stream_infer(requests(300))]
        assert seen == [str(number) for number in range(300)]
        stream = client.stream_infer(requests(1000))
        answer, error = await anext(stream)
        assert (error, answer.get_response().id) == (None, "0")
        assert stream.cancel()
        np.testing.assert_array_equal((await client.infer("m", given(grpc_aio))).as_numpy("y"), ROW + 1)


async def test_strings_travel_both_ways(ports: Ports) -> None:
    model = HostedModel("text", StaticEmbedding(Settings(folder=BUILT_IN_FOLDER)))
    await ports.host.scheduler.load(model)
    ports.host.repository.put(model)
    texts = np.array(["a word", "ein Wört"], dtype=np.object_)

    def asked(module: Any, **form: bool) -> list[Any]:
        tensor = module.InferInput("text", [2], "BYTES")
        tensor.set_data_from_numpy(texts, **form)
        return [tensor]

    async with http_aio.InferenceServerClient(ports.http) as client:
        binary = await client.infer("text", asked(http_aio))
        plain = await client.infer("text", asked(http_aio, binary_data=False))
    async with grpc_aio.InferenceServerClient(ports.grpc) as client:
        over_grpc = await client.infer("text", asked(grpc_aio))
    assert binary.as_numpy("embedding").shape[0] == 2
    for other in (plain, over_grpc):
        np.testing.assert_array_equal(binary.as_numpy("embedding"), other.as_numpy("embedding"))


async def test_what_breaks_inside_is_opaque(ports: Ports) -> None:
    model = hosted(Adder(), "adder")
    ports.host.repository.put(model)
    numbers = np.array([POISON], dtype=np.int64)
    async with grpc_aio.InferenceServerClient(ports.grpc) as client:
        tensor = grpc_aio.InferInput("x", [1], "INT64")
        tensor.set_data_from_numpy(numbers)
        with pytest.raises(utils.InferenceServerException) as caught:
            await client.infer("adder", [tensor])
    assert caught.value.status() == "StatusCode.INTERNAL"
    assert "poison" not in caught.value.message()


async def test_grpc_sync_client_infers(ports: Ports) -> None:
    def calls() -> None:
        with grpc_client.InferenceServerClient(ports.grpc) as client:
            np.testing.assert_array_equal(client.infer("m", given(grpc_client)).as_numpy("y"), ROW + 1)

    await asyncio.to_thread(calls)


def _renamed(tensor: Any, name: str, module: Any) -> Any:
    renamed = module.InferInput(name, tensor.shape(), tensor.datatype())
    renamed.set_data_from_numpy(ROW)
    return renamed
