"""Embeddings through OpenAI's client: from the model in the package, and from a provider."""

import math
from typing import Literal

import openai
import pytest
from openai import OpenAI

from tests.support.behaviours import vector_of
from tests.support.upstream import Upstream

LOCAL = "polyforge/static-minilm"
WIDTH = 256


def cosine(left: list[float], right: list[float]) -> float:
    product = sum(a * b for a, b in zip(left, right, strict=True))
    return product / (math.hypot(*left) * math.hypot(*right))


def embed(client: OpenAI, *texts: str) -> list[list[float]]:
    return [row.embedding for row in client.embeddings.create(model=LOCAL, input=list(texts)).data]


def test_local_model_answers_with_meaningful_vectors(client: OpenAI) -> None:
    cat, kitten, report = embed(client, "a cat sat on the mat", "a kitten lay on the rug", "quarterly revenue report")
    assert len(cat) == WIDTH
    assert cosine(cat, kitten) > cosine(cat, report)


def test_base64_and_float_are_the_same_numbers(client: OpenAI) -> None:
    (default,) = embed(client, "the default asks for base64")
    floats = client.embeddings.create(model=LOCAL, input="the default asks for base64", encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(default, abs=1e-6)


def test_a_text_has_the_same_vector_in_any_company(client: OpenAI) -> None:
    texts = ["short", "a somewhat longer text about nothing in particular", "नमस्ते दुनिया"]
    assert embed(client, *texts) == [embed(client, text)[0] for text in texts]


def test_answers_come_in_order_with_usage_and_request_id(client: OpenAI) -> None:
    answer = client.embeddings.create(model=LOCAL, input=["one", "two", "three"])
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    assert answer.model == LOCAL
    assert answer._request_id


def test_dimensions_are_honoured(client: OpenAI) -> None:
    answer = client.embeddings.create(model=LOCAL, input="cut short", dimensions=64)
    assert [len(row.embedding) for row in answer.data] == [64]


@pytest.mark.parametrize("dimensions", [WIDTH + 1, 1_000_000])
def test_more_dimensions_than_there_are_is_refused(client: OpenAI, dimensions: int) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model=LOCAL, input="too wide", dimensions=dimensions)
    assert refusal.value.param == "dimensions"


@pytest.mark.parametrize("given", [[], "", ["fine", ""], [[1, 2, 3]], [1, 2, 3]])
def test_inputs_that_the_local_model_cannot_take_name_the_field(client: OpenAI, given: object) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model=LOCAL, input=given)  # pyright: ignore[reportArgumentType]  # wrong on purpose
    assert (refusal.value.param or "").startswith("input")


def test_long_inputs_are_answered(client: OpenAI) -> None:
    answer = client.embeddings.create(model=LOCAL, input="word " * 50_000)
    assert len(answer.data[0].embedding) == WIDTH


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_provider_embeddings_pass_through(
    client: OpenAI, upstream: Upstream, encoding: Literal["float", "base64"]
) -> None:
    answer = client.embeddings.create(model="vectors", input=["a", "b"], encoding_format=encoding, dimensions=16)
    assert upstream.wait_for("vectors")[-1].json["encoding_format"] == encoding
    if encoding == "float":
        assert [row.embedding for row in answer.data] == [vector_of("a", 16), vector_of("b", 16)]
    assert answer.usage.prompt_tokens == 9


def test_provider_embeddings_in_the_default_encoding(client: OpenAI) -> None:
    answer = client.embeddings.create(model="vectors", input="a")
    assert answer.data[0].embedding == vector_of("a", 8)


def test_a_chat_model_does_not_embed(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model="assistant", input="hello")
    assert refusal.value.param == "model"
