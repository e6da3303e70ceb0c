"""Triton's extensions over HTTP."""

import asyncio
import base64
import gzip
import json
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.triton.engines import write_model
from tests.unit.serving.triton.hosts import IO, TritonHost

LABELLED = IO.replace("dims: 4 }", 'dims: 4 label_filename: "labels" }').replace(
    'name: "x" data_type: TYPE_FP32 dims: 4 label_filename: "labels"', 'name: "x" data_type: TYPE_FP32 dims: 4'
)
ROW = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 9, 3, 4]}]}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[TritonHost]:
    host = TritonHost(tmp_path)
    host.scheduler.open()
    (write_model(host.folder, "m", LABELLED) / "labels").write_text("cat\ndog\n")
    await host.control.load("m")
    yield host
    await host.scheduler.close()


async def call(
    host: TritonHost, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    pending = [{"type": "http.request", "body": content}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": given}
    await host.app(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, sent[1]["body"]


async def test_the_configuration_is_shown_whole(host: TritonHost) -> None:
    status, _, body = await call(host, "GET", "/v2/models/m/config")
    config = json.loads(body)
    assert status == 200
    assert (config["name"], config["platform"], config["max_batch_size"]) == ("m", "onnxruntime_onnx", 4)
    assert config["default_model_filename"] == "model.onnx"
    assert config["output"][0]["label_filename"] == "labels"


async def test_classes_are_told_by_name(host: TritonHost) -> None:
    asked = {**ROW, "outputs": [{"name": "y", "parameters": {"classification": 2}}]}
    status, _, body = await call(host, "POST", "/v2/models/m/infer", asked)
    assert status == 200
    assert json.loads(body)["outputs"] == [
        {"name": "y", "shape": [1, 2], "datatype": "BYTES", "data": ["10.000000:1:dog", "5.000000:3"]}
    ]


async def test_more_rows_than_the_configuration_allows_are_refused(host: TritonHost) -> None:
    rows = {"inputs": [{"name": "x", "shape": [5, 4], "datatype": "FP32", "data": [0] * 20}]}
    status, _, body = await call(host, "POST", "/v2/models/m/infer", rows)
    assert (status, json.loads(body)["error"]) == (400, "inference request batch-size must be <= 4 for 'm'")


async def test_generate_answers_flat_and_as_one_event(host: TritonHost) -> None:
    expected = {"model_name": "m", "model_version": "1", "y": [2.0, 3.0, 4.0, 5.0]}
    status, _, body = await call(host, "POST", "/v2/models/m/generate", {"x": [1, 2, 3, 4]})
    assert (status, json.loads(body)) == (200, expected)
    status, headers, body = await call(host, "POST", "/v2/models/m/versions/1/generate_stream", {"x": [1, 2, 3, 4]})
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert body.startswith(b"data: ")
    assert body.endswith(b"\n\n")
    assert json.loads(body[6:]) == expected
    status, headers, body = await call(host, "POST", "/v2/models/m/generate_stream", {"x": "four"})
    assert (status, headers["content-type"]) == (400, "application/json")
    assert "error" in json.loads(body)


async def test_models_are_loaded_and_unloaded(host: TritonHost) -> None:
    async def index(**asked: bool) -> list[tuple[str, str]]:
        _, _, body = await call(host, "POST", "/v2/repository/index", asked)
        return [(entry["name"], entry["state"]) for entry in json.loads(body)]

    write_model(host.folder, "n", IO)
    assert await index() == [("m", "READY"), ("n", "")]
    assert await index(ready=True) == [("m", "READY")]
    assert (await call(host, "POST", "/v2/repository/models/n/load"))[0] == 200
    assert await index(ready=True) == [("m", "READY"), ("n", "READY")]
    unload = {"parameters": {"unload_dependents": False}}
    assert (await call(host, "POST", "/v2/repository/models/n/unload", unload))[0] == 200
    assert await index() == [("m", "READY"), ("n", "UNAVAILABLE")]
    assert (await call(host, "GET", "/v2/models/n/ready"))[0] == 503
    assert (await call(host, "GET", "/v2/health/ready"))[0] == 200
    status, _, body = await call(host, "POST", "/v2/repository/models/none/load")
    assert (status, b"failed to poll from model repository" in body) == (404, True)


async def test_a_model_comes_with_the_request(host: TritonHost) -> None:
    files = {"file:1/model.onnx": base64.b64encode(b"graph").decode()}
    parameters = {"config": json.dumps({"backend": "onnxruntime"}), **files}
    assert (await call(host, "POST", "/v2/repository/models/new/load", {"parameters": parameters}))[0] == 200
    assert (await call(host, "GET", "/v2/models/new/ready"))[0] == 200
    parameters["file:1/model.onnx"] = "?"
    status, _, body = await call(host, "POST", "/v2/repository/models/new/load", {"parameters": parameters})
    assert (status, b"must be in base64" in body) == (400, True)


async def test_a_raw_body_is_one_row(host: TritonHost) -> None:
    status, headers, body = await call(
        host, "POST", "/v2/models/m/infer", struct.pack("<4f", 1, 2, 3, 4), inference_header_content_length="0"
    )
    head = json.loads(body[: int(headers["inference-header-content-length"])])
    assert (status, head["outputs"][0]["shape"]) == (200, [1, 4])


@pytest.mark.parametrize(("encoding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_requests_are_read(host: TritonHost, encoding: str, squeeze: Any) -> None:
    body = squeeze(json.dumps(ROW).encode())
    status, _, answer = await call(host, "POST", "/v2/models/m/infer", body, content_encoding=encoding)
    assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [2.0, 10.0, 4.0, 5.0])


@pytest.mark.parametrize(
    ("body", "encoding", "complaint"),
    [
        (b"nonsense", "gzip", "damaged"),
        (gzip.compress(b"{}" * 100, mtime=0)[:-9], "gzip", "cut off"),
        (gzip.compress(bytes(64 * 1024 * 1024 + 1), mtime=0), "gzip", "exceeds the maximum allowed input size"),
        (b"x", "br", "gzip or deflate"),
    ],
)
async def test_compressed_requests_that_are_refused(
    host: TritonHost, body: bytes, encoding: str, complaint: str
) -> None:
    status, _, answer = await call(host, "POST", "/v2/models/m/infer", body, content_encoding=encoding)
    assert (status, complaint in json.loads(answer)["error"]) == (400, True)


async def test_what_the_host_has_not_is_told(host: TritonHost) -> None:
    assert (await call(host, "GET", "/v2/systemsharedmemory/status"))[::2] == (200, b"[]")
    assert (await call(host, "POST", "/v2/cudasharedmemory/region/r/unregister"))[0] == 200
    assert (await call(host, "POST", "/v2/systemsharedmemory/region/r/register"))[0] == 501
    assert (await call(host, "GET", "/v2/logging"))[0] == 501
    assert (await call(host, "POST", "/v2/repository/other/index"))[0] == 501
    assert (await call(host, "POST", "/v2/repository/other/models/m/load"))[0] == 501
    status, _, body = await call(host, "POST", "/v2/repository/index", {"ready": 1})
    assert (status, json.loads(body)["error"]) == (400, "Invalid value for 'ready': expected a boolean")
    status, _, body = await call(host, "POST", "/v2/repository/models//load")
    assert (status, b"Model name cannot be empty" in body) == (400, True)
    assert (await call(host, "GET", "/v2/models/m/trace/setting"))[0] == 404


async def test_a_model_that_changes_while_a_body_is_on_its_way_answers(host: TritonHost) -> None:
    arrived = asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await arrived.wait()
        return {"type": "http.request", "body": json.dumps(ROW).encode()}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "", "raw_path": b"/v2/models/m/infer", "headers": []}
    asked = asyncio.ensure_future(host.app(scope, receive, send))
    await asyncio.sleep(0)
    await host.control.load("m")
    arrived.set()
    await asked
    assert sent[0]["status"] == 200


async def test_no_request_fails_while_a_model_is_loaded_again_and_again(host: TritonHost) -> None:
    async def ask() -> list[int]:
        return [(await call(host, "POST", "/v2/models/m/infer", ROW))[0] for _ in range(30)]

    asking = [asyncio.ensure_future(ask()) for _ in range(8)]
    for _ in range(20):
        await host.control.load("m")
    assert {status for statuses in await asyncio.gather(*asking) for status in statuses} == {200}
    engines = host.engines["m", 1]
    assert [engine.closed for engine in engines] == [True] * 20 + [False]
