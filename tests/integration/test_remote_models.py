"""Models that another server computes: one of our own hosts as the other server, over a socket and with a token."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from polyforge.adapters.model_backends.remote_oip import RemoteOip, Settings
from polyforge.kernel.errors import Invalid, Unavailable, UpstreamFailed
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from tests.conformance import onnx_graphs
from tests.conformance.model_backends import ModelBackendSuite, outputs_of
from tests.conformance.test_model_backends import numbers_request, table_request
from tests.conftest import Serve
from tests.integration.test_model_host_alone import TOKEN
from tests.support.server import MODELS_ALONE, ROLE_MODULES, Polyforge, stopping
from tests.support.tensorflow_serving import TensorFlowServing
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    folder = tmp_path_factory.mktemp("other")
    graphs = {"table": onnx_graphs.table(), "plus": onnx_graphs.add_one()}
    models = {
        name: {"task": "tabular_prediction", "source": onnx_graphs.write(folder / name, graph).as_uri()}
        for name, graph in graphs.items()
    }
    with stopping(Polyforge(folder, {"models": models, "serving": {"token": TOKEN}}, roles=MODELS_ALONE)) as served:
        yield served


@pytest.fixture(scope="module")
def made() -> Iterator[list[RemoteOip]]:
    backends: list[RemoteOip] = []
    yield backends
    for backend in backends:
        backend.close()


def remote(made: list[RemoteOip], host: Polyforge, **settings: Any) -> RemoteOip:
    made.append(RemoteOip(Settings.model_validate({"url": host.url, "key": TOKEN, "model": "table", **settings})))
    return made[-1]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
class TestRemoteOip(ModelBackendSuite):
    """A graph on the other server, with tensors in binary and in JSON."""

    @pytest.fixture
    def make(self, binary: bool, host: Polyforge, made: list[RemoteOip]) -> Callable[[], ModelBackend]:
        return lambda: remote(made, host, binary=binary)

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [table_request([[1, 2]]), table_request([[3, 4], [5, 6], [7, 8]]), table_request([[9, 9, 9]])]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return table_request([[1, 99]])


def test_its_signature_is_what_the_other_server_says(host: Polyforge, made: list[RemoteOip]) -> None:
    backend = remote(made, host, model="plus", version="1", instances=3)
    backend.load()
    assert backend.signature.inputs == (TensorSpec("x", "FP32", (-1, 3)),)
    assert backend.signature.elsewhere
    assert backend.signature.instances == 3
    answer = outputs_of(backend.run([numbers_request(x=np.array([[1, 2, 3]], np.float32))])[0])
    assert np.frombuffer(memoryview(next(iter(answer.values())).data), "<f4").tolist() == [2, 3, 4]


def test_what_cannot_be_had_says_why(host: Polyforge, made: list[RemoteOip]) -> None:
    with pytest.raises(Unavailable, match=r"not on its server: .*unknown model"):
        remote(made, host, model="nothing").load()
    with pytest.raises(UpstreamFailed, match="answered 401"):
        remote(made, host, key="wrong").load()
    with pytest.raises(Unavailable, match="not running"):
        remote(made, host, url="http://127.0.0.1:1").load()
    with TensorFlowServing() as other, pytest.raises((Unavailable, UpstreamFailed)):
        remote(made, host, url=other.url).load()


def test_requests_of_one_batch_are_sent_on_their_own(host: Polyforge, made: list[RemoteOip]) -> None:
    backend = remote(made, host)
    backend.load()
    answers = backend.run([table_request([[1, 2]]), table_request([[1, 99]]), table_request([[3, 4, 5]])])
    assert isinstance(answers[1], Invalid)
    assert outputs_of(answers[0])
    assert outputs_of(answers[2])


def test_a_host_serves_the_models_of_others_as_its_own(host: Polyforge, tmp_path: Path) -> None:
    with TensorFlowServing() as tensorflow:
        models = {
            "sums": {
                "task": "tabular_prediction",
                "source": host.url,
                "backend": "remote_oip",
                "options": {"model": "plus", "key": TOKEN},
            },
            "m": {
                "task": "tabular_prediction",
                "source": tensorflow.url,
                "backend": "tensorflow_serving",
                "options": {"signature": "half"},
            },
        }
        with stopping(Polyforge(tmp_path, {"models": models, "serving": {"token": TOKEN}}, roles=MODELS_ALONE)) as here:
            assert infer(here, "sums", "x", [1, 3], [1, 2, 3]) == [2, 3, 4]
            assert infer(here, "m", "x", [2], [1, 4]) == [0.5, 2]


def told_to(pid: int) -> str:
    """The command line and the environment of a process."""
    process = psutil.Process(pid)
    return " ".join([*process.cmdline(), *process.environ().values()])


def infer(host: Polyforge, model: str, name: str, shape: list[int], data: list[float]) -> list[float]:
    tensor = {"name": name, "shape": shape, "datatype": "FP32", "data": data}
    answer = httpx.post(
        f"{host.url}/v2/models/{model}/infer",
        json={"inputs": [tensor]},
        headers={"authorization": f"Bearer {TOKEN}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]


def test_its_key_may_be_a_secret_of_the_database_which_is_followed(host: Polyforge, serve: Serve) -> None:
    sums = {
        "task": "tabular_prediction",
        "source": host.url,
        "backend": "remote_oip",
        "options": {"model": "plus", "key": "secret:other-host"},
        "price": {"per_call": 0},
    }
    place = serve({"models": {"sums": sums}})
    key = place.create_key().key
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}

    def asked(status: int, says: str) -> bool:
        answer = place.call("/v2/models/sums/infer", key=key, json={"inputs": [tensor]})
        return answer.status == status and says in answer.body.decode()

    eventually(lambda: asked(503, "there is no secret 'other-host'"), "the reason")
    assert place.api("POST", "/secrets", {"name": "other-host", "value": TOKEN}).status == 201
    eventually(lambda: asked(200, "[2.0,3.0,4.0]"), "the model is loaded, now that its key is there")
    assert place.api("PUT", "/secrets/other-host", {"value": "a-wrong-key-0123456789"}).status == 200
    eventually(lambda: asked(502, "401"), "the changed key is used")
    place.kill("models")
    assert place.api("PUT", "/secrets/other-host", {"value": TOKEN}).status == 200
    eventually(lambda: asked(200, "[2.0,3.0,4.0]"), "a host that started anew is told again")
    for value in (TOKEN, "a-wrong-key-0123456789"):
        assert value not in place.log
        kept = [path for path in place.data.rglob("*") if path.is_file()]
        assert not [path for path in kept if value.encode() in path.read_bytes()]
        assert value not in "".join(told_to(pid) for role in ROLE_MODULES for pid in place.pids(role))
    assert place.api("DELETE", "/secrets/other-host").status == 204
    eventually(lambda: asked(503, "there is no secret 'other-host'"), "it is gone")
