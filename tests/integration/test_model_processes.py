"""Models in processes of their own, in the model host as a process: asked as gateways ask, whatever they do."""

import http.client
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyforge.serving.sources import BUILT_IN, BUILT_IN_FOLDER
from tests.integration.test_model_host import Host
from tests.support.python_models import EXIT, FINE, HANG, LEAK, PRINT, REFUSE, SEGFAULT, is_running, write_model

CALLERS = 20
COUNTING = """
    class Model:
        inputs = {"text_input": ("BYTES", [-1]), "count": ("INT32", [-1])}
        outputs = {"text_output": ("BYTES", [-1])}

        def stream(self, inputs):
            for number in range(inputs["count"][0]):
                yield {"text_output": [f"{number} " + inputs["text_input"][0].decode()]}
"""


class Connection(http.client.HTTPConnection):
    """HTTP over the host's Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("models", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


class Client:
    """Calls of one host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
        connection = Connection(self.host.socket)
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode())
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def infer(self, model: str, *numbers: int) -> tuple[int, Any, dict[str, str]]:
        tensor = {"name": "x", "shape": [len(numbers)], "datatype": "INT64", "data": numbers}
        status, headers, body = self.call("POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
        return status, json.loads(body), headers

    def embed(self, model: str, text: str) -> tuple[int, Any]:
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        status, _, body = self.call("POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
        answer = json.loads(body)
        return status, answer["outputs"][0]["data"] if status == 200 else answer

    def metric(self, name: str, labels: str) -> float:
        _, _, page = self.call("GET", "/metrics")
        (value,) = [line.split()[-1] for line in page.decode().splitlines() if line.startswith(f"{name}{{{labels}")]
        return float(value)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A host with one compute thread, a model that misbehaves, one that streams, and an engine of ours apart."""
    with tempfile.TemporaryDirectory(prefix="pf-") as name:
        folder = Path(name)
        limits = {"memory_bytes": 150 * 1024**2, "run_seconds": 8}
        models = {
            "mischief": {
                "task": "classification",
                "source": f"file://{write_model(folder / 'mischief')}",
                "instances": 2,
                "options": limits,
            },
            "fragile": {"task": "classification", "source": f"file://{write_model(folder / 'fragile')}"},
            "counting": {"task": "classification", "source": f"file://{write_model(folder / 'counting', COUNTING)}"},
            "broken": {"task": "classification", "source": f"file://{write_model(folder / 'broken', 'x = 1 / 0')}"},
            "apart": {"task": "embedding", "source": f"file://{BUILT_IN_FOLDER}", "isolated": True},
        }
        host = Host(folder, models=models, serving={"threads": 1})
        assert host.start(), host.output.read_text()
        yield Client(host)
        host.send(signal.SIGTERM)
        try:
            assert host.wait() == 0, host.output.read_text()
        finally:
            host.end()


def test_its_signature_is_what_it_declares(client: Client) -> None:
    _, _, body = client.call("GET", "/v2/models/mischief")
    found = json.loads(body)
    assert found["platform"] == "python"
    assert found["inputs"] == [{"name": "x", "datatype": "INT64", "shape": [-1]}]
    assert [output["name"] for output in found["outputs"]] == ["y", "pid"]


def test_a_model_that_cannot_be_loaded_says_why(client: Client) -> None:
    status, answer, _ = client.infer("broken", 1)
    assert status == 503
    assert "model.py: import: ZeroDivisionError: division by zero" in answer["error"]


def test_an_engine_of_ours_answers_the_same_in_a_process_of_its_own(client: Client) -> None:
    assert client.embed("apart", "hello world") == client.embed(BUILT_IN, "hello world")
    assert client.metric("polyforge_model_processes", 'model="apart"') == 1


def test_what_it_refuses_and_where_it_fails(client: Client) -> None:
    status, answer, headers = client.infer("mischief", REFUSE)
    assert (status, answer) == (400, {"error": "x must not be 8"})
    assert headers["x-polyforge-param"] == "x"


@pytest.mark.parametrize(
    ("what", "status", "reason"), [(SEGFAULT, 503, "crashed"), (LEAK, 503, "memory"), (HANG, 504, "time")]
)
def test_its_callers_are_told_and_the_host_goes_on(client: Client, what: int, status: int, reason: str) -> None:
    labels = f'model="mischief",version="1",reason="{reason}"'
    before = client.metric("polyforge_model_process_ends_total", labels)
    found: list[int] = []
    vectors: list[tuple[int, Any]] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            found.append(client.infer("mischief", FINE)[0])
            vectors.append(client.embed(BUILT_IN, "hello"))

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    answered, error, headers = client.infer("mischief", what)
    deadline = time.monotonic() + 60
    while client.metric("polyforge_model_processes", 'model="mischief"') < 2:
        assert time.monotonic() < deadline
    over.set()
    for caller in callers:
        caller.join()
    assert answered == status, error
    assert "model 'mischief'" in error["error"]
    assert ("retry-after" in headers) == (status == 503)
    assert set(found) == {200}
    assert {status for status, _ in vectors} == {200}
    assert client.metric("polyforge_model_process_ends_total", labels) == before + 1
    assert "a process of a model ended" in client.host.output.read_text()


def state_of(client: Client, model: str) -> str:
    _, _, body = client.call("POST", "/v2/repository/index", {})
    (state,) = [entry["state"] for entry in json.loads(body) if entry["name"] == model]
    return state


def is_ready(client: Client, model: str) -> bool:
    status, _, body = client.call("GET", f"/v2/models/{model}/ready")
    assert json.loads(body)["ready"] == (status == 200)
    return status == 200


def wait_until_ready(client: Client, model: str) -> None:
    deadline = time.monotonic() + 60
    while not is_ready(client, model):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_that_crashes_again_and_again_is_not_ready_while_it_is_away(client: Client) -> None:
    assert (is_ready(client, "fragile"), state_of(client, "fragile")) == (True, "READY")
    told: dict[str, str] = {}
    for _ in range(5):
        wait_until_ready(client, "fragile")
        status, _, told = client.infer("fragile", EXIT)
        assert status == 503
    # By now it stays away for four seconds.
    status, headers, _ = client.call("GET", "/v2/models/fragile/ready")
    refused, answer, again = client.infer("fragile", FINE)
    assert (status, refused, state_of(client, "fragile")) == (503, 503, "LOADING")
    assert "is being restarted" in answer["error"]
    assert [int(each["retry-after"]) >= 3 for each in (told, headers, again)] == [True] * 3
    assert client.metric("polyforge_model_ready", 'model="fragile"') == 0
    assert client.call("GET", "/v2/health/ready")[0] == 200
    assert is_ready(client, "mischief")
    wait_until_ready(client, "fragile")
    assert client.infer("fragile", FINE)[0] == 200
    assert state_of(client, "fragile") == "READY"


def test_what_it_prints_is_in_the_log_in_measure(client: Client) -> None:
    assert client.infer("mischief", PRINT)[0] == 200
    log = client.host.output.read_text()
    assert 0 < log.count('"a model wrote"') < 1000
    assert len(log) < 2_000_000


def test_answers_are_streamed_one_by_one(client: Client) -> None:
    asked = {"text_input": "sheep", "count": 3}
    status, headers, body = client.call("POST", "/v2/models/counting/generate_stream", asked)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    events = [json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line]
    assert [event["text_output"] for event in events] == ["0 sheep", "1 sheep", "2 sheep"]
    status, _, body = client.call("POST", "/v2/models/counting/generate", asked)
    assert (status, "generate_stream" in json.loads(body)["error"]) == (501, True)


def test_unloading_ends_its_processes_and_loading_brings_them_back(client: Client) -> None:
    pid = client.infer("mischief", FINE)[1]["outputs"][1]["data"][0]
    assert is_running(pid)
    assert client.call("POST", "/v2/repository/models/mischief/unload")[0] == 200
    deadline = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.call("POST", "/v2/repository/models/mischief/load")[0] == 200
    assert client.infer("mischief", FINE)[0] == 200


def test_they_die_with_a_host_that_is_killed(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pf-") as name:
        models = {"mischief": {"task": "classification", "source": f"file://{write_model(tmp_path / 'm')}"}}
        host = Host(Path(name), models=models)
        assert host.start(), host.output.read_text()
        pid = Client(host).infer("mischief", FINE)[1]["outputs"][1]["data"][0]
        assert host.process is not None
        assert pid != host.process.pid
        os.kill(host.process.pid, signal.SIGKILL)
        host.end()
        deadline = time.monotonic() + 60
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)
