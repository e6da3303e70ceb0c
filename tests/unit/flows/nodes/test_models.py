"""Nodes that ask models."""

import json
from typing import Any

import pytest

from polyforge.kernel.errors import Invalid, InvalidModelOutput
from tests.support.node_calls import Bench

MODEL = {"model": {"$ref": "model:assistant"}}


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_chat_is_asked_with_all_that_is_given(bench: Bench) -> None:
    bench.facilities.models.says = ["I am fine"]
    params = {**MODEL, "system": "You are {{who}}.", "prompt": "How is {{who}}?", "temperature": 0, "stop": ["."]}
    before = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "{{who}}"}]
    found = await bench.run("model.chat", params, who="{{x}}", messages=before)
    asked = bench.facilities.models.asked[0]
    assert asked["model"] == "assistant"
    assert (asked["temperature"], asked["stop"]) == (0, ["."])
    question = {"role": "user", "content": "How is {{x}}?"}
    assert asked["messages"] == [{"role": "system", "content": "You are {{x}}."}, *before, question]
    assert found["text"] == "I am fine"
    assert found["messages"] == [*before, question, {"role": "assistant", "content": "I am fine"}]
    assert found["usage"] == {"input": 5, "output": 2}
    assert bench.call.tokens == ["I", "am", "fine"]
    assert bench.call.spent == 10
    assert bench.facilities.models.keys == [b"key-1"]
    assert bench.facilities.models.tags == ("flow=flow_1", "node=step")


async def test_a_chat_sees_pictures_and_hands_on_what_they_are_called(bench: Bench) -> None:
    picture = {"$object": "pic", "media_type": "image/png"}
    found = await bench.run("model.chat", {**MODEL, "prompt": "What is it?"}, images=[picture])
    sent = bench.facilities.models.asked[0]["messages"][0]["content"]
    assert [part["type"] for part in sent] == ["text", "image_url"]
    assert sent[1]["image_url"]["url"].startswith("data:image/png;base64,")
    again = await bench.run("model.chat", {**MODEL, "prompt": "And now?"}, messages=found["messages"])
    assert bench.facilities.models.asked[1]["messages"][0]["content"] == sent
    assert len(again["messages"]) == 4
    assert "base64" not in json.dumps(again["messages"])
    bench.facilities.kept_objects["pic"] = b"<svg onload=x>"
    with pytest.raises(Invalid, match="no PNG"):
        await bench.run("model.chat", {**MODEL, "prompt": "?"}, images=[picture])


async def test_a_model_that_does_something_else_is_not_asked(bench: Bench) -> None:
    bench.facilities.models.does = "embedding"
    with pytest.raises(Invalid, match="'assistant' does embedding; name one that does chat"):
        await bench.run("model.chat", {**MODEL, "prompt": "?"})
    assert bench.facilities.models.asked == []
    bench.facilities.models.does = None
    await bench.run("model.chat", {**MODEL, "prompt": "?"})


async def test_what_is_extracted_fits_the_schema_or_is_asked_for_again(bench: Bench) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}
    params = {**MODEL, "schema": schema, "instructions": "Look at {{what}}."}
    bench.facilities.models.says = ['```json\n{"age": "old"}\n```', '{"age": 7}']
    assert await bench.run("model.extract", params, text="I am seven", what="ages") == {"value": {"age": 7}}
    first, second = bench.facilities.models.asked
    assert first["response_format"]["json_schema"]["schema"] == schema
    assert "Look at ages." in first["messages"][0]["content"]
    assert first["messages"][1] == {"role": "user", "content": "I am seven"}
    assert "age: " in second["messages"][-1]["content"]
    assert bench.facilities.models.keys == [b"key-1:1", b"key-1:2"]
    assert bench.call.spent == 20
    assert bench.call.lines[0][0] == "warning"


@pytest.mark.parametrize("said", ["no", "[1]", "{", '{"age": -1}', "{}"])
async def test_what_never_fits_is_an_error(bench: Bench, said: str) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}
    bench.facilities.models.says = [said]
    with pytest.raises(InvalidModelOutput, match="does not fit the schema") as caught:
        await bench.run("model.extract", {**MODEL, "schema": schema, "attempts": 3}, text="?")
    assert caught.value.output == said
    assert len(bench.facilities.models.asked) == 3


async def test_vectors_are_in_the_order_of_their_texts(bench: Bench) -> None:
    bench.facilities.models.does = "embedding"
    found = await bench.run("model.embed", {**MODEL, "dimensions": 2}, texts=["a", "bbb"])
    assert found == {"embeddings": [[1.0, 1.0], [3.0, 1.0]]}
    assert bench.facilities.models.asked[0]["dimensions"] == 2
    assert await bench.run("model.embed", MODEL, texts=[]) == {"embeddings": []}
    with pytest.raises(Invalid, match="empty"):
        await bench.run("model.embed", MODEL, texts=["a", ""])
    many = await bench.run("model.embed", MODEL, texts=["a"] * 3_000)
    assert len(many["embeddings"]) == 3_000
    assert len(bench.facilities.models.asked) == 3


async def test_a_label_is_chosen_by_a_chat_or_by_closeness(bench: Bench) -> None:
    params = {**MODEL, "labels": ["good", "bad", "odd"]}
    bench.facilities.models.says = ['{"labels": [{"label": "bad", "score": 0.9}, {"label": "odd", "score": 0.1}]}']
    found = await bench.run("model.classify", params, text="awful")
    assert (found["label"], found["confidence"]) == ("bad", 0.9)
    assert [each["label"] for each in found["scores"]] == ["bad", "odd", "good"]
    bench.facilities.models.does = "embedding"
    vectors = {"awful": [1.0, 0.0], "good": [-1.0, 0.0], "bad": [0.9, 0.1], "odd": [0.0, 1.0]}
    bench.facilities.models.vectors = vectors.__getitem__
    found = await bench.run("model.classify", params, text="awful")
    assert found["label"] == "bad"
    assert {each["label"]: each["score"] for each in found["scores"]}["good"] == 0


async def test_texts_are_put_in_order(bench: Bench) -> None:
    bench.facilities.models.says = ['{"scores": [{"number": 2, "score": 1}, {"number": 3, "score": 0.5}]}']
    found = await bench.run("model.rerank", {**MODEL, "top": 2}, query="q", documents=["a", "b", "c"])
    assert found["documents"] == ["b", "c"]
    assert found["ranking"] == [{"index": 1, "score": 1.0}, {"index": 2, "score": 0.5}]
    bench.facilities.models.does = "embedding"
    vectors: dict[str, Any] = {"q": [1.0, 0.0], "a": [0.0, 1.0], "b": [1.0, 0.1]}
    bench.facilities.models.vectors = vectors.__getitem__
    found = await bench.run("model.rerank", MODEL, query="q", documents=["a", "", "b"])
    assert found["documents"] == ["b", "a", ""]
    assert await bench.run("model.rerank", MODEL, query="q", documents=[]) == {"documents": [], "ranking": []}


async def test_a_text_is_translated(bench: Bench) -> None:
    bench.facilities.models.says = ["नमस्ते दुनिया"]
    assert await bench.run("language.translate", {**MODEL, "to": "hi", "source": "en"}, text="Hello") == {
        "text": "नमस्ते दुनिया"
    }
    system = bench.facilities.models.asked[0]["messages"][0]["content"]
    assert "tag en" in system
    assert "tag hi" in system
    assert await bench.run("language.translate", {**MODEL, "to": "hi"}, text=" \n") == {"text": " \n"}
    assert len(bench.facilities.models.asked) == 1
