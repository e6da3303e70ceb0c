"""Models on our own engines, through the gateway: told by their files, and asleep when nobody asks them."""

import asyncio
import json
import re
from typing import Any

import numpy as np
import pytest

from polyforge.egress.http import HttpClient
from tests.conformance import onnx_graphs
from tests.conformance.encoder_files import SHORT, token_vectors, write_encoder
from tests.conftest import Serve
from tests.support.clients import Response
from tests.support.server import Key, Polyforge
from tests.support.waiting import eventually

SLEEPY_SECONDS = 1.0


@pytest.fixture(scope="module")
def place(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Polyforge:
    """An encoder that stays, one that sleeps soon, one in a process of its own, and one whose settings are wrong."""
    folder = write_encoder(tmp_path_factory.mktemp("encoder"), files={"config.json": SHORT})
    graph = onnx_graphs.write(tmp_path_factory.mktemp("graph"), onnx_graphs.add_one())
    encoder = {"task": "embedding", "source": f"file://{folder}"}
    models: dict[str, Any] = {
        "team/encoder": {**encoder, "keep_warm": True, "instances": 1, "batch_rows": 4},
        "sleepy": {**encoder, "idle_unload": SLEEPY_SECONDS},
        "apart": {**encoder, "isolated": True},
        "wrong": {**encoder, "backend": "text_encoder", "options": {"pooling": "cls", "colour": "red"}},
        "plus-one": {"task": "tabular_prediction", "source": f"file://{graph}"},
    }
    return serve({"models": models, "serving": {"memory_mb": 500}})


@pytest.fixture(scope="module")
def key(place: Polyforge) -> Key:
    return place.create_key()


def embed(place: Polyforge, key: Key, model: str, *texts: str) -> Response:
    return place.call("/v1/embeddings", key=key.key, json={"model": model, "input": list(texts)})


def figures(place: Polyforge) -> str:
    """The model host's own page for Prometheus."""

    async def read() -> str:
        (children,) = place.data.glob("run/*/children.json")
        socket = f"{json.loads(children.read_text())['socket_folder']}/models.sock"
        client = HttpClient("http://models", {}, None, 1, unix_socket=socket)
        answer = client.get("/metrics")
        try:
            await answer.open()
            return (await answer.body(1 << 20)).decode()
        finally:
            await answer.close()
            await client.close()

    return asyncio.run(read())


def figure(place: Polyforge, name: str, model: str, more: str = "") -> int:
    found = re.search(rf'^{name}{{model="{model}",version="1"{more}}} (\d+)$', figures(place), re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("model", ["team/encoder", "apart"])
def test_vectors_are_those_of_the_encoder(place: Polyforge, key: Key, model: str) -> None:
    texts = ("red green", "blue", "red red green blue")
    response = embed(place, key, model, *texts)
    assert response.status == 200, response.body
    for text, row in zip(texts, response.json["data"], strict=True):
        wanted = token_vectors(text).mean(axis=0)
        assert row["embedding"] == pytest.approx((wanted / np.linalg.norm(wanted)).tolist(), abs=1e-5)
    assert response.json["usage"]["prompt_tokens"] == sum(len(text.split()) + 2 for text in texts)


def test_a_model_that_nobody_asks_sleeps_and_the_next_request_wakes_it(place: Polyforge, key: Key) -> None:
    assert embed(place, key, "sleepy", "red").status == 200
    eventually(lambda: not figure(place, "polyforge_model_resident", "sleepy"), "sleep")
    response = embed(place, key, "sleepy", "red")
    assert response.status == 200, response.body
    assert figure(place, "polyforge_model_unloads_total", "sleepy", ',reason="idle"') >= 1
    assert figure(place, "polyforge_model_loads_total", "sleepy") >= 2
    assert figure(place, "polyforge_model_loads_total", "team/encoder") == 1


def test_what_is_wrong_with_a_model_is_said_and_harms_no_other(place: Polyforge, key: Key) -> None:
    response = embed(place, key, "wrong", "red")
    assert response.status == 503
    assert "settings.colour: there is no such setting" in response.error["message"]
    assert embed(place, key, "team/encoder", "red").status == 200


def test_a_plain_graph_answers_over_the_open_inference_protocol(place: Polyforge, key: Key) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    response = place.call("/v2/models/plus-one/infer", key=key.key, json={"inputs": [tensor]})
    assert response.status == 200, response.body
    assert response.json["outputs"][0]["data"] == [2, 3, 4]


def test_a_model_is_loaded_anew_while_the_gateway_asks_it(place: Polyforge, key: Key) -> None:
    before = figure(place, "polyforge_model_loads_total", "team/encoder")
    response = place.call("/v2/repository/models/team%2Fencoder/load", key=place.admin_key, json={})
    assert response.status == 200, response.body
    assert figure(place, "polyforge_model_loads_total", "team/encoder") == before + 1
    assert embed(place, key, "team/encoder", "red").status == 200
    refused = place.call("/v2/repository/models/team%2Fencoder/load", key=key.key, json={})
    assert refused.status == 403, refused.body
