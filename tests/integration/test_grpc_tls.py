"""gRPC and HTTP behind one certificate, through `polyforge up`: Triton's own client, and answers that come in parts."""

import json
import queue
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conformance import ctranslate2_models
from tests.conformance.onnx_graphs import add_one, write
from tests.conftest import Serve
from tests.integration.test_model_host_alone import TOKEN
from tests.integration.test_open_inference import CONFIG, ROW, free_port
from tests.support.certificates import self_signed
from tests.support.server import MODELS_ALONE, Polyforge, stopping

WANTED = "needs tritonclient, which `make test` installs"
grpc_client = pytest.importorskip("tritonclient.grpc", reason=WANTED)
utils = pytest.importorskip("tritonclient.utils", reason=WANTED)

pytestmark = pytest.mark.integration
PROMPT = "a first text"


class Place:
    """An installation with a certificate, and where it answers."""

    def __init__(self, server: Polyforge, grpc: int, pem: Path) -> None:
        self.pem = pem
        self.grpc = f"localhost:{grpc}"
        self.http = server.url.replace("127.0.0.1", "localhost")
        self.server = server

    def client(self, **form: Any) -> Any:
        """Triton's client, which trusts the certificate and nothing else."""
        return grpc_client.InferenceServerClient(self.grpc, ssl=True, **{"root_certificates": str(self.pem), **form})

    def post(self, path: str, key: str, body: object) -> httpx.Response:
        """One call over HTTP."""
        trusted = ssl.create_default_context(cafile=str(self.pem))
        return httpx.post(
            f"{self.http}{path}", json=body, headers={"authorization": f"Bearer {key}"}, verify=trusted, timeout=60
        )


def settings_of(folder: Path, grpc: int, pem: Path) -> dict[str, Any]:
    repository = folder / "repository"
    write(repository / "plus" / "1", add_one())
    (repository / "plus" / "config.pbtxt").write_text(CONFIG)
    writer = ctranslate2_models.write_generator(folder / "writer")
    return {
        "models": {"writer": {"task": "inference", "source": writer.as_uri(), "options": {"max_new_tokens": 12}}},
        "serving": {"repository": str(repository), "token": TOKEN},
        "server": {"grpc_port": grpc, "tls": {"cert": str(pem), "key": str(pem)}},
    }


@pytest.fixture(scope="module")
def place(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two workers, which share the port for gRPC."""
    folder, grpc = tmp_path_factory.mktemp("tls"), free_port()
    pem = self_signed(folder)
    return Place(serve(settings_of(folder, grpc, pem), workers=2), grpc, pem)


@pytest.fixture(scope="module")
def key(place: Place) -> str:
    made = place.post("/api/v1/keys", place.server.admin_key, {"name": "over TLS"})
    assert made.status_code == 201
    return made.json()["key"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A model host without gateways."""
    folder, grpc = tmp_path_factory.mktemp("alone"), free_port()
    pem = self_signed(folder)
    with stopping(Polyforge(folder, settings_of(folder, grpc, pem), roles=MODELS_ALONE)) as server:
        yield Place(server, grpc, pem)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def given(values: np.ndarray = ROW) -> list[Any]:
    tensor = grpc_client.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    return [tensor]


def prompt(text: str) -> list[Any]:
    tensor = grpc_client.InferInput("text_input", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode()], object))
    return [tensor]


def test_tritons_client_is_answered_over_tls(place: Place, key: str) -> None:
    for _ in range(8):
        # Each connection may reach another worker.
        with place.client() as client:
            assert client.is_server_ready()
            assert client.is_model_ready("plus", headers=bearer(key))
            answer = client.infer("plus", given(), headers=bearer(key))
            np.testing.assert_array_equal(answer.as_numpy("y"), ROW + 1)


def test_a_key_is_needed_there_too(place: Place) -> None:
    with place.client() as client, pytest.raises(utils.InferenceServerException) as refused:
        client.infer("plus", given(), headers=bearer("pf-wrong"))
    assert "UNAUTHENTICATED" in str(refused.value.status())


def test_who_speaks_no_tls_or_does_not_trust_the_certificate_is_not_answered(place: Place, tmp_path: Path) -> None:
    with grpc_client.InferenceServerClient(place.grpc) as plain, pytest.raises(utils.InferenceServerException) as cut:
        plain.is_server_live(client_timeout=10)
    assert "UNAVAILABLE" in str(cut.value.status())
    other = self_signed(tmp_path)
    with place.client(root_certificates=str(other)) as client, pytest.raises(utils.InferenceServerException) as strange:
        client.is_server_live(client_timeout=10)
    assert "UNAVAILABLE" in str(strange.value.status())
    assert "Traceback" not in place.server.log


@pytest.mark.parametrize("where", ["place", "alone"])
def test_a_text_comes_in_parts(where: str, request: pytest.FixtureRequest) -> None:
    at: Place = request.getfixturevalue(where)
    token = TOKEN if where == "alone" else request.getfixturevalue("key")
    seen: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with at.client() as client:
        whole = client.infer("writer", prompt(PROMPT), headers=bearer(token))
        client.start_stream(lambda result, error: seen.put((result, error)), headers=bearer(token))
        client.async_stream_infer("writer", prompt(PROMPT), enable_empty_final_response=True)
        parts: list[str] = []
        while True:
            result, error = seen.get(timeout=60)
            assert error is None
            if result.get_response().parameters["triton_final_response"].bool_param:
                break
            parts.append(result.as_numpy("text_output")[0].decode())
        client.stop_stream()
    assert len(parts) > 1
    assert "".join(parts) == whole.as_numpy("text_output")[0].decode()
    answer = at.post("/v2/models/writer/generate_stream", token, {"text_input": PROMPT})
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert [event["text_output"] for event in events] == parts
    assert sum(event["generated_tokens"] for event in events) == whole.as_numpy("generated_tokens")[0]


def test_a_host_alone_answers_whoever_shows_its_token_over_tls(alone: Place) -> None:
    with alone.client() as client:
        np.testing.assert_array_equal(client.infer("plus", given(), headers=bearer(TOKEN)).as_numpy("y"), ROW + 1)
        with pytest.raises(utils.InferenceServerException) as refused:
            client.infer("plus", given())
    assert "UNAUTHENTICATED" in str(refused.value.status())
