"""A model host without a gateway: on TCP and over gRPC, behind its token."""

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.conformance.onnx_graphs import add_one, write
from tests.support.server import MODELS_ALONE, Polyforge, stopping

WANTED = "needs tritonclient, which `make test` installs"
http_client = pytest.importorskip("tritonclient.http", reason=WANTED)
grpc_client = pytest.importorskip("tritonclient.grpc", reason=WANTED)
utils = pytest.importorskip("tritonclient.utils", reason=WANTED)

pytestmark = pytest.mark.integration
TOKEN = "host-token-1234567890"
ROW = np.array([[1, 9, 3]], dtype=np.float32)


@pytest.fixture(scope="module")
def grpc_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[Polyforge]:
    folder = tmp_path_factory.mktemp("alone")
    write(folder / "repository" / "plus" / "1", add_one())
    settings = {
        "serving": {"repository": str(folder / "repository"), "token": TOKEN},
        "server": {"grpc_port": grpc_port},
    }
    with stopping(Polyforge(folder, settings, roles=MODELS_ALONE)) as alone:
        yield alone


def given(module: Any) -> list[Any]:
    tensor = module.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(ROW)
    return [tensor]


def shown() -> dict[str, str]:
    return {"authorization": f"Bearer {TOKEN}"}


def test_tritons_clients_show_the_token_and_are_answered(host: Polyforge, grpc_port: int) -> None:
    with http_client.InferenceServerClient(host.url.removeprefix("http://")) as client:
        assert client.is_server_ready()
        np.testing.assert_array_equal(client.infer("plus", given(http_client), headers=shown()).as_numpy("y"), ROW + 1)
        client.unload_model("plus", headers=shown())
        client.load_model("plus", headers=shown())
    with grpc_client.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        assert client.is_server_ready()
        np.testing.assert_array_equal(client.infer("plus", given(grpc_client), headers=shown()).as_numpy("y"), ROW + 1)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}])
def test_without_the_token_only_health_is_told(host: Polyforge, grpc_port: int, headers: dict[str, str]) -> None:
    for path in ("/v2", "/v2/models/plus", "/metrics"):
        refused = host.call(path, method="GET", headers=headers)
        assert (refused.status, list(refused.json)) == (401, ["error"])
    assert host.call("/v2/health/ready", method="GET").json == {"ready": True}
    with grpc_client.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        assert client.is_server_live()
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer("plus", given(grpc_client), headers={**headers})
        assert caught.value.status() == "StatusCode.UNAUTHENTICATED"


def test_what_our_gateway_asks_is_nobody_elses(host: Polyforge) -> None:
    assert host.call("/v2/repository/polyforge/refresh", headers=shown(), json={}).status == 404
    assert host.call("/metrics", method="GET", headers=shown()).body.startswith(b"# HELP nv_inference_request_success")
