"""The list of models through OpenAI's client."""

import openai
import pytest
from openai import OpenAI

from tests.support.server import Polyforge


def test_list_holds_declared_local_and_wildcard_models(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {"assistant", "vectors", "renamed", "polyforge/static-minilm"} <= models.keys()
    assert any(name.startswith("lab/") for name in models)
    assert {model.object for model in models.values()} == {"model"}
    assert all(model.owned_by and isinstance(model.created, int) for model in models.values())


@pytest.mark.parametrize("name", ["assistant", "polyforge/static-minilm", "lab/gpt-upstream"])
def test_retrieve(client: OpenAI, name: str) -> None:
    model = client.models.retrieve(name)
    assert (model.id, model.object) == (name, "model")
    assert model._request_id


def test_retrieve_of_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        client.models.retrieve("no-such-model")
    assert refusal.value.code == "model_not_found"


def test_a_key_sees_only_its_models(house: Polyforge) -> None:
    key = house.create_key(models=["assistant", "polyforge/*"])
    with OpenAI(base_url=f"{house.url}/v1", api_key=key.key) as client:
        assert {model.id for model in client.models.list()} == {"assistant", "polyforge/static-minilm"}
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("renamed")
