"""The gRPC listener over an application that tells what it was asked: addresses, keys, codes, TLS."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from polyforge.adapters.listeners.grpc import ENDING, GrpcListener, Settings
from polyforge.adapters.listeners.oip.messages import HEALTH_MESSAGES, MESSAGES
from polyforge.kernel.errors import SettingsError
from tests.support.certificates import self_signed

NOT_SERVING = 2


class App:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, status: int = 200, body: Any = None, **headers: str) -> None:
        self.status = status
        self.body = {} if body is None else body
        self.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append({**scope, "body": (await receive())["body"]})
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": json.dumps(self.body).encode()})


Stub = Callable[..., Any]


def stub(channel: grpc.aio.Channel, method: str) -> Stub:
    request, response = MESSAGES[f"{method}Request"], MESSAGES[f"{method}Response"]
    return channel.unary_unary(
        f"/inference.GRPCInferenceService/{method}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )


async def health(channel: grpc.aio.Channel) -> Any:
    check: Stub = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HEALTH_MESSAGES["HealthCheckRequest"].SerializeToString,
        response_deserializer=HEALTH_MESSAGES["HealthCheckResponse"].FromString,
    )
    return await check(HEALTH_MESSAGES["HealthCheckRequest"]())


@asynccontextmanager
async def listening(app: App, **settings: Any) -> AsyncGenerator[GrpcListener]:
    listener = GrpcListener(Settings(host="127.0.0.1", port=0, **settings), app)
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()


async def test_a_call_is_a_request_with_the_callers_key_and_address() -> None:
    app = App(body={"name": "a/b", "versions": ["3"], "platform": "p", "inputs": [], "outputs": []})
    async with listening(app) as listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        metadata = (("authorization", "Bearer pf-1"), ("x-polyforge-tags", "t"), ("content-encoding", "gzip"))
        asked = stub(channel, "ModelMetadata")(
            MESSAGES["ModelMetadataRequest"](name="a/b", version="3"), metadata=metadata
        )
        answer = await asked
    assert (answer.name, list(answer.versions)) == ("a/b", ["3"])
    (scope,) = app.asked
    assert (scope["method"], scope["raw_path"], scope["path"]) == (
        "GET",
        b"/v2/models/a%2Fb/versions/3",
        "/v2/models/a/b/versions/3",
    )
    headers = dict(scope["headers"])
    assert (headers[b"authorization"], headers[b"x-polyforge-tags"]) == (b"Bearer pf-1", b"t")
    # How a message travelled says nothing of the request that it becomes.
    assert b"content-encoding" not in headers
    assert scope["client"][0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (402, "RESOURCE_EXHAUSTED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (501, "UNIMPLEMENTED"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
async def test_an_error_has_its_code_and_says_when_to_come_back(status: int, code: str) -> None:
    app = App(status, {"error": "because"}, retry_after="3", x_request_id="01", server="secret")
    async with listening(app) as listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel, "ModelConfig")(MESSAGES["ModelConfigRequest"](name="m"))
    assert (caught.value.code().name, caught.value.details()) == (code, "because")
    assert {("retry-after", "3"), ("x-request-id", "01")} == {
        (name, value) for name, value in caught.value.trailing_metadata()
    }


@pytest.mark.parametrize(("status", "told"), [(200, 1), (503, NOT_SERVING)])
async def test_health_is_the_applications(status: int, told: int) -> None:
    async with (
        listening(App(status)) as listener,
        grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel,
    ):
        answer = await health(channel)
    assert answer.status == told


async def test_files_of_a_load_travel_in_base64() -> None:
    app = App()
    given = {"config": {"string_param": "{}"}, "file:1/model.onnx": {"bytes_param": b"\x00graph"}}
    async with listening(app) as listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        await stub(channel, "RepositoryModelLoad")(
            MESSAGES["RepositoryModelLoadRequest"](model_name="m", parameters=given)
        )
    assert app.asked[0]["path"] == "/v2/repository/models/m/load"
    assert json.loads(app.asked[0]["body"]) == {"parameters": {"config": "{}", "file:1/model.onnx": "AGdyYXBo"}}


async def test_a_message_over_the_limit_is_refused() -> None:
    app = App()
    async with (
        listening(app, max_message_bytes=1000) as listener,
        grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel, "ModelInfer")(MESSAGES["ModelInferRequest"](model_name="m" * 2000))
    assert caught.value.code().name == "RESOURCE_EXHAUSTED"
    assert not app.asked


async def test_tls_is_spoken_where_there_is_a_certificate(tmp_path: Path) -> None:
    pem = self_signed(tmp_path)
    trusted = grpc.ssl_channel_credentials(pem.read_bytes())
    async with listening(App(), cert=pem, key=pem) as listener:
        async with grpc.aio.secure_channel(f"localhost:{listener.port}", trusted) as channel:
            assert (await stub(channel, "ServerLive")(MESSAGES["ServerLiveRequest"]())).live
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub(channel, "ServerLive")(MESSAGES["ServerLiveRequest"]())


async def test_a_port_is_shared_only_where_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = GrpcListener(Settings(host="127.0.0.1", port=taken.getsockname()[1]), App())
        with pytest.raises(SettingsError, match=r"server\.grpc_port: cannot listen"):
            await busy.open()
    async with listening(App(), shared=True) as first:
        second = GrpcListener(Settings(host="127.0.0.1", port=first.port, shared=True), App())
        await second.open()
        await second.close()
    assert second.port == first.port


async def test_what_is_under_way_ends_and_nothing_new_begins() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    class Slow(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            await may_end.wait()
            await super().__call__(scope, receive, send)

    async with listening(Slow()) as listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        call = asyncio.ensure_future(stub(channel, "ServerLive")(MESSAGES["ServerLiveRequest"]()))
        await begun.wait()
        listener.drain(30)
        assert (await health(channel)).status == NOT_SERVING
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as other:
            for each in (channel, other):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub(each, "ServerLive")(MESSAGES["ServerLiveRequest"](), timeout=20)
                # Neither CANCELLED, which callers do not try again, nor a connection that breaks.
                assert (caught.value.code().name, caught.value.details()) == ("UNAVAILABLE", ENDING)
                assert ("retry-after", "1") in list(caught.value.trailing_metadata())
        may_end.set()
        assert (await call).live


async def test_a_stream_that_begins_while_it_ends_is_sent_elsewhere() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    class Slow(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            await may_end.wait()
            await super().__call__(scope, receive, send)

    async with listening(Slow()) as listener, grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        call = asyncio.ensure_future(stub(channel, "ServerLive")(MESSAGES["ServerLiveRequest"]()))
        await begun.wait()
        listener.drain(30)
        stream: Any = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=MESSAGES["ModelInferRequest"].SerializeToString,
            response_deserializer=MESSAGES["ModelStreamInferResponse"].FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream(timeout=20).read()
        assert (caught.value.code().name, caught.value.details()) == ("UNAVAILABLE", ENDING)
        may_end.set()
        assert (await call).live
