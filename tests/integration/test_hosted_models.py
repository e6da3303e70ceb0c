"""The model host's models over the management API of a running server: seen, used, unloaded, loaded, audited."""

from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.server import Polyforge
from tests.support.waiting import eventually

MODEL = "polyforge/static-minilm"


@pytest.fixture(scope="module")
def site(serve: Serve) -> Polyforge:
    return serve({"models": {"broken": {"task": "embedding", "source": "file:///nowhere/at/all"}}})


def model(site: Polyforge, name: str = MODEL) -> dict[str, Any]:
    response = site.api("GET", f"/hosted-models/{name}")
    assert response.status == 200, response.body
    return response.json


def test_what_a_model_does_is_counted(site: Polyforge) -> None:
    key = site.create_key()
    for _ in range(3):
        body = {"model": MODEL, "input": ["one", "two"]}
        assert site.call("/v1/embeddings", key=key.key, json=body).status == 200
    site.settled(key, 3)
    found = eventually(
        lambda: found if (found := model(site))["versions"][0]["figures"]["succeeded"] == 3 else {}, "three answers"
    )
    version = found["versions"][0]
    figures = version["figures"]
    assert (found["origin"], found["state"], version["answers"]) == ("declared", "READY", True)
    assert (figures["rows"], figures["failed"]) == (6, 0)
    assert sum(batch["rows"] * batch["runs"] for batch in figures["batches"]) == 6
    assert figures["mean_batch_rows"] == pytest.approx(6 / figures["runs"], abs=0.01)
    assert figures["mean_request_ms"] >= figures["mean_compute_ms"] > 0
    assert found["memory_bytes"] > 0
    assert version["last_used_at"] is not None


def test_lists_page_and_filter(site: Polyforge) -> None:
    first = site.api("GET", "/hosted-models?limit=1").json
    assert [each["name"] for each in first["data"]] == ["broken"]
    second = site.api("GET", f"/hosted-models?limit=1&cursor={first['next_cursor']}").json
    assert ([each["name"] for each in second["data"]], second["next_cursor"]) == ([MODEL], None)
    ready = site.api("GET", "/hosted-models?state=READY").json["data"]
    assert [each["name"] for each in ready] == [MODEL]
    assert [each["name"] for each in site.api("GET", "/hosted-models?search=MINILM").json["data"]] == [MODEL]


def test_a_model_that_cannot_be_loaded_says_why_and_needs_attention(site: Polyforge) -> None:
    found = model(site, "broken")
    assert found["state"] == "UNAVAILABLE"
    assert found["versions"][0]["reason"]
    health = site.api("GET", "/models/broken").json["deployments"][0]["health"]
    assert (health["state"], health["reason"]) == ("unavailable", found["versions"][0]["reason"])
    items = site.api("GET", "/overview").json["attention"]
    failed = [item for item in items if item["code"] == "model_failed"]
    assert [item["subject"] for item in failed] == ["broken"]
    assert found["versions"][0]["reason"] in failed[0]["message"]


def test_only_operators_unload_and_load_and_it_is_written_down(site: Polyforge) -> None:
    reader = site.create_key(scopes=["models:read"])
    path = f"/api/v1/hosted-models/{MODEL}"
    assert site.call(path, method="GET", key=reader.key).status == 200
    assert site.call(path + "/unload", method="POST", key=reader.key).status == 403
    assert site.api("POST", f"/hosted-models/{MODEL}/unload").json["state"] == "UNAVAILABLE"
    # What was unloaded on purpose needs nobody's attention.
    eventually(
        lambda: all(item["subject"] != MODEL for item in site.api("GET", "/overview").json["attention"]), "peace"
    )
    assert site.api("POST", f"/hosted-models/{MODEL}/load").json["state"] == "READY"
    actions = [event["action"] for event in site.api("GET", "/audit?limit=20").json["data"]]
    assert actions.index("hosted_model.load_asked") < actions.index("hosted_model.unload_asked")
    assert site.api("POST", "/hosted-models/absent/load").status == 404


def test_keys_see_only_the_models_that_they_may_use(site: Polyforge) -> None:
    key = site.create_key(scopes=["models:read"], models=["broken"])
    listed = site.call("/api/v1/hosted-models", method="GET", key=key.key).json["data"]
    assert [each["name"] for each in listed] == ["broken"]
    assert site.call(f"/api/v1/hosted-models/{MODEL}", method="GET", key=key.key).status == 404
