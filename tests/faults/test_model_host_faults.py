"""The model host when an engine crashes it, or never ends a run: it is started again, and its models come back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support import moody_engine
from tests.support.clients import Response
from tests.support.server import Key, Polyforge
from tests.support.waiting import eventually

STUCK_SECONDS = 3.0
BUILT_IN = "polyforge/static-minilm"
RECENT = Path("models") / "recent.json"


def start(serve: Serve, tmp_path: Path) -> Polyforge:
    models: dict[str, Any] = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
        models[name] = {"task": "embedding", "backend": "moody", "source": f"file://{tmp_path / name}"}
    serving = {"stuck_seconds": STUCK_SECONDS, "threads": 2, "parallel_loads": 1}
    place = serve({"models": models, "serving": serving}, environ=moody_engine.install(tmp_path / "site"))
    place.clean = False
    return place


@pytest.fixture
def place(serve: Serve, tmp_path: Path) -> Polyforge:
    """Two models on an engine that does as a text says, and the built-in one."""
    return start(serve, tmp_path)


@pytest.fixture
def key(place: Polyforge) -> Key:
    return place.create_key()


def embed(place: Polyforge, key: Key, model: str, text: str = "hello") -> Response:
    return place.call("/v1/embeddings", key=key.key, json={"model": model, "input": [text]})


def answers(place: Polyforge, key: Key, model: str) -> Callable[[], bool]:
    return lambda: embed(place, key, model).status == 200


def order(place: Polyforge) -> list[str]:
    """Which models were used last, as it is written down."""
    path = place.data / RECENT
    return [name for name, _ in json.loads(path.read_text())["models"]] if path.exists() else []


def test_a_native_crash_costs_a_moment_and_the_models_come_back_by_last_use(
    place: Polyforge, key: Key, tmp_path: Path
) -> None:
    for model in ("one", BUILT_IN, "two"):
        assert embed(place, key, model).status == 200
    eventually(lambda: order(place)[:2] == ["two", "static-minilm"], "the order of last use")
    (before,) = place.pids("models")

    crashed = embed(place, key, "two", "crash")
    assert crashed.status == 503, crashed.body
    assert float(crashed.headers["retry-after"]) > 0
    for model in ("two", BUILT_IN, "one"):
        eventually(answers(place, key, model), f"{model} after the crash")
    (after,) = place.pids("models")
    assert after != before
    # Nobody sent the request that crashed the host to it again.
    assert (tmp_path / "loads").read_text().split() == ["one", "two", "two", "one"]


CRASHING = """
import ctypes
import numpy as np

class Model:
    inputs = {"text": ("BYTES", [-1])}
    outputs = {"embedding": ("FP32", [-1, 1]), "tokens": ("INT32", [-1])}

    def load(self):
        with open(LOADS, "a") as loads:
            loads.write("loaded ")

    def predict(self, inputs):
        texts = inputs["text"]
        if any(b"crash" in text for text in texts):
            ctypes.string_at(0)
        lengths = [len(text) for text in texts]
        return {"embedding": np.array([lengths], np.float32).T, "tokens": np.array(lengths, np.int32)}
"""


def test_a_request_that_crashes_a_process_of_its_own_crashes_it_once(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "model.py").write_text(CRASHING.replace("LOADS", repr(str(tmp_path / "loads"))))
    place = serve({"models": {"apart": {"task": "embedding", "source": f"file://{tmp_path / 'apart'}"}}})
    place.clean = False
    key = place.create_key()
    eventually(answers(place, key, "apart"), "the model")
    (host,) = place.pids("models")

    crashed = embed(place, key, "apart", "crash")
    assert crashed.status == 503, crashed.body
    assert "crashed (SIGSEGV)" in crashed.error["message"]
    assert embed(place, key, BUILT_IN).status == 200
    eventually(answers(place, key, "apart"), "the model after the crash")
    assert place.pids("models") == [host]
    assert (tmp_path / "loads").read_text().split() == ["loaded", "loaded"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("hang", "a run does not end"), ("freeze", "Timeout (")],
    ids=["a run that waits for ever", "a run that holds the interpreter"],
)
def test_a_run_that_never_ends_has_the_host_start_anew(place: Polyforge, key: Key, text: str, told: str) -> None:
    assert embed(place, key, "one").status == 200
    (before,) = place.pids("models")
    stuck = embed(place, key, "two", text)
    assert stuck.status == 503, stuck.body
    for model in ("one", "two"):
        eventually(answers(place, key, model), f"{model} after the restart")
    (after,) = place.pids("models")
    assert after != before
    assert told in place.log


def test_a_model_that_crashes_the_host_whenever_it_is_loaded_is_left(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "crash").touch()
    place = start(serve, tmp_path)
    key = place.create_key()
    for model in ("two", BUILT_IN):
        eventually(answers(place, key, model), f"{model} beside one that crashes")
    refused = embed(place, key, "one")
    assert refused.status == 503
    assert "ended each time that it was being loaded" in refused.error["message"]
    loads = (tmp_path / "loads").read_text().split()
    assert loads.count("one") == 2
    # A suspect is loaded last, so that the others need not wait for what becomes of it.
    assert loads[-1] == "two"
