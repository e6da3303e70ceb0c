"""What nodes use, on the real wiring: the models of the settings, their guardrails and costs, secrets, databases."""

import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyforge.flows.built_in import built_in, runners
from polyforge.flows.running.contract import Facilities, Outputs
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import Denied, GuardrailBlocked, Invalid, ModelNotFound, NotFound, PolyforgeError
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.bootstrap import ADMIN_KEY_ID
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.vault.schemas import NewSecret
from polyforge.wiring.flow_facilities import FlowFacilities
from polyforge.wiring.gateway import GatewayPlatform
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.starting import begin
from tests.support.behaviours import Answer, Fail, Tokens
from tests.support.node_calls import PlayedCall
from tests.support.upstream import Upstream

Json = Any
ME = Caller(ADMIN_KEY_ID, "admin", DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, frozenset({"*"}))
MODEL = {"model": {"$ref": "model:assistant"}}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    one = Upstream().start()
    yield one
    one.stop()


@pytest.fixture
def settings(tmp_path: Path, upstream: Upstream) -> dict[str, Any]:
    with closing(sqlite3.connect(tmp_path / "sales.db")) as connection, connection:
        connection.execute("CREATE TABLE sales AS SELECT 1 AS id, 'one' AS name")
    place = {"provider": "up", "model": "gpt", "cost": {"input": 1, "output": 10}}
    return {
        "data": str(tmp_path / "data"),
        "providers": {"up": {"use": "openai", "base_url": upstream.url, "api_key": "x"}},
        "models": {
            "assistant": {"task": "chat", "deployments": [place]},
            "guarded": {"task": "chat", "deployments": [place], "guardrails": ["no-mail"]},
            "vectors": {"task": "embedding", "deployments": [{**place, "model": "embed"}]},
        },
        "guardrails": {
            "no-mail": {"use": "pii", "action": "block", "kinds": ["email"]},
            "mask": {"use": "pii", "action": "mask", "kinds": ["email"]},
        },
        "idempotency": {"max_bytes": 4_096},
        "flows": {"code": True, "connections": {"sales": {"url": f"sqlite:///{tmp_path}/sales.db"}}},
    }


class House:
    """A platform and what nodes may use in it."""

    def __init__(self, platform: GatewayPlatform, facilities: FlowFacilities) -> None:
        self.platform = platform
        self.facilities = facilities
        self.call = PlayedCall({}, {}, facilities)

    async def run(
        self, type_: str, params: dict[str, Json], *, me: Caller = ME, once: str = "", **inputs: Json
    ) -> Outputs:
        kind = built_in(code=True).newest(type_)
        assert kind is not None
        assert built_in(code=True).rule(kind).faults(params) == []
        self.call = PlayedCall(params, inputs, all_of(self.facilities))
        self.call.caller, self.call.idempotency_key = me, once or new_ulid()
        return await runners()[kind.type, kind.v](self.call)


def all_of(facilities: FlowFacilities) -> Facilities:
    """As nodes get them."""
    return Facilities(**{name: getattr(facilities, name) for name in Facilities.__struct_fields__})


@pytest.fixture
async def house(settings: dict[str, Any]) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        spec = ProcessSpec(
            index=0, workers=1, ready_fd=-1, life_fd=-1, session=new_ulid(), runtime=runtime, overrides=settings
        )
        platform = GatewayPlatform(begin(spec), spec, SystemClock())
        await platform.open()
        facilities = FlowFacilities(
            platform.settings,
            platform.database,
            platform.objects.store,
            platform.objects.files,
            platform.lineups,
            platform.idempotency,
            platform.master,
            platform.clock,
        )
        await facilities.open(platform.declared_secrets)
        try:
            yield House(platform, facilities)
        finally:
            await facilities.close()
            await platform.close()


async def test_a_chat_is_told_as_it_is_made_and_paid_for_once(house: House, upstream: Upstream) -> None:
    upstream.script("gpt", Answer("one two three", tokens=Tokens(100, 10)))
    found = await house.run("model.chat", {**MODEL, "prompt": "count"}, once="same")
    assert found["text"] == "one two three"
    assert house.call.tokens == ["one", " two", " three"]
    assert found["usage"] == {"input": 100, "output": 10}
    assert house.call.spent == 200
    again = await house.run("model.chat", {**MODEL, "prompt": "count"}, once="same")
    assert again == found
    assert house.call.spent == 200
    assert len(upstream.requests("gpt")) == 1
    await house.run("model.chat", {**MODEL, "prompt": "count"}, once="other")
    assert len(upstream.requests("gpt")) == 2


async def test_a_chat_that_fails_is_not_kept(house: House, upstream: Upstream) -> None:
    upstream.script("gpt", Fail(400), Answer("fine"))
    with pytest.raises(PolyforgeError):
        await house.run("model.chat", {**MODEL, "prompt": "?"}, once="same")
    assert (await house.run("model.chat", {**MODEL, "prompt": "?"}, once="same"))["text"] == "fine"
    upstream.script("gpt", Answer("one two three", ending="cut", after=1), Answer("whole"))
    with pytest.raises(PolyforgeError):
        await house.run("model.chat", {**MODEL, "prompt": "!"}, once="cut")
    assert house.call.tokens == ["one"]
    assert (await house.run("model.chat", {**MODEL, "prompt": "!"}, once="cut"))["text"] == "whole"


async def test_an_answer_that_was_too_large_to_be_kept_is_asked_for_again(house: House, upstream: Upstream) -> None:
    long = "word " * 2_000
    upstream.script("gpt", Answer(long, tokens=Tokens(100, 10)))
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    for tries in (1, 2):
        assert (await house.run("model.chat", {**MODEL, "prompt": "?"}, once="told"))["text"] == long
        assert house.call.spent == 200
        assert len(upstream.requests("gpt")) == tries
    upstream.script("gpt", Answer(json.dumps({"a": long}), tokens=Tokens(100, 10)))
    for tries in (3, 4):
        found = await house.run("model.extract", {**MODEL, "schema": schema}, once="whole", text="?")
        assert found == {"value": {"a": long}}
        assert len(upstream.requests("gpt")) == tries


async def test_a_model_that_the_caller_may_not_use_is_not_there(house: House, upstream: Upstream) -> None:
    for me, model in ((replace(ME, models=("vectors",)), "assistant"), (ME, "nobody")):
        with pytest.raises(ModelNotFound):
            await house.run("model.chat", {"model": {"$ref": f"model:{model}"}, "prompt": "?"}, me=me)
    assert upstream.requests() == []


async def test_guardrails_of_a_model_hold_for_nodes_too(house: House, upstream: Upstream) -> None:
    with pytest.raises(GuardrailBlocked):
        await house.run("model.chat", {"model": {"$ref": "model:guarded"}, "prompt": "mail a@example.com"})
    assert upstream.requests() == []


async def test_a_guardrail_judges_a_text(house: House) -> None:
    text = "write to jane@example.com"
    blocked = await house.run("guardrail.check", {"guardrail": {"$ref": "guardrail:no-mail"}}, text=text)
    assert blocked == {"blocked": {"kinds": ["email"]}}
    masked = await house.run("guardrail.check", {"guardrail": {"$ref": "guardrail:mask"}}, text=text)
    assert "jane@example.com" not in masked["passed"]
    assert masked["passed"].startswith("write to ")
    assert await house.run("guardrail.check", {"guardrail": {"$ref": "guardrail:mask"}}, text="hi") == {"passed": "hi"}
    with pytest.raises(NotFound, match="no guardrail"):
        await house.run("guardrail.check", {"guardrail": {"$ref": "guardrail:none"}}, text="hi")


async def test_extraction_and_vectors(house: House, upstream: Upstream) -> None:
    upstream.script("gpt", Answer('{"age": 7}'))
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    assert await house.run("model.extract", {**MODEL, "schema": schema}, text="seven") == {"value": {"age": 7}}
    assert upstream.requests("gpt")[0].json["response_format"]["json_schema"]["schema"] == schema
    found = await house.run("model.embed", {"model": {"$ref": "model:vectors"}}, texts=["a", "b"])
    assert len(found["embeddings"]) == 2
    with pytest.raises(Invalid, match="does chat"):
        await house.run("model.embed", MODEL, texts=["a"])


async def test_secrets_are_the_projects(house: House) -> None:
    await house.platform.vault_service.create(ME, NewSecret.model_validate({"name": "mine", "value": "v"}))
    shut = {"name": "shut", "value": "w", "projects": []}
    await house.platform.vault_service.create(ME, NewSecret.model_validate(shut))
    assert await house.facilities.secrets.get(ME, "mine") == "v"
    for name in ("shut", "none"):
        with pytest.raises(NotFound):
            await house.facilities.secrets.get(ME, name)
    with pytest.raises(NotFound):
        await house.facilities.secrets.get(replace(ME, organization_id="o2"), "mine")
    with pytest.raises(Denied, match="secrets:use"):
        await house.facilities.secrets.get(replace(ME, scopes=frozenset({"flows:run", "inference"})), "mine")


async def test_private_addresses_are_not_called(house: House, upstream: Upstream) -> None:
    for url in (f"{upstream.url}/models", "http://localhost/", "http://169.254.169.254/latest/meta-data"):
        with pytest.raises(Denied, match="private network"):
            await house.run("http.request", {"url": "{{url}}"}, url=url)
    with pytest.raises(Denied):
        await house.run("notify.send", {"webhook": upstream.url, "text": "hi"})
    assert upstream.requests() == []


async def test_databases_code_mail_and_memory(house: House, settings: dict[str, Any]) -> None:
    params = {
        "connection": {"$ref": "connection:sales"},
        "query": "SELECT name FROM sales WHERE id = :id",
        "inputs": {"id": "number"},
    }
    assert (await house.run("sql.query", params, id=1))["rows"] == [{"name": "one"}]
    code = {"code": "result = n * 2", "inputs": {"n": "number"}, "result": "number"}
    assert await house.run("code.python", code, n=21) == {"result": 42}
    await house.run("notify.send", {"email": ["a@example.com"], "subject": "Hi", "text": "there"})
    letters = list((Path(settings["data"]) / "outbox").glob("*.eml"))
    assert len(letters) == 1
    assert await house.run("data.cache", {"do": "keep"}, key="k", value={"a": 1}) == {"value": {"a": 1}}
    assert await house.run("data.cache", {"do": "recall"}, key="k") == {"found": {"a": 1}}


async def test_pictures_are_uploaded_files_or_objects_of_the_project(house: House, upstream: Upstream) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(8)
    picture = await house.facilities.objects.put(ME, png, "image/png")
    await house.run("model.chat", {**MODEL, "prompt": "What?"}, images=[picture])
    sent = json.dumps(upstream.requests("gpt")[0].json["messages"])
    assert "data:image/png;base64," in sent
    with pytest.raises(NotFound):
        await house.run(
            "model.chat", {**MODEL, "prompt": "What?"}, me=replace(ME, project_id=new_ulid()), images=[picture]
        )
    with pytest.raises(NotFound):
        await house.run("model.chat", {**MODEL, "prompt": "?"}, images=[{"$ref": f"object:file-{new_ulid()}"}])
