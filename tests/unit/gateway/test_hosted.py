"""Which models callers of the Open Inference Protocol reach, and by which names."""

import json
from typing import Any

import pytest

from polyforge.dialects import oip
from polyforge.dialects.oip_paths import ModelPath
from polyforge.egress.oip_client import OipAnswer
from polyforge.gateway.hosted import HostedModels
from polyforge.kernel.errors import Invalid, ModelFailed, ModelNotFound
from polyforge.kernel.tasks import TensorRequest
from polyforge.ports.provider import Capabilities
from polyforge.registry.answering import Answer, Answering
from polyforge.registry.catalog import Catalog, build_catalog
from polyforge.registry.settings import DeploymentSettings, ModelSettings
from polyforge.tenancy.callers import Caller

OURS, THEIRS = "01M7ZK0NE1RWBFGSRJT5JS94T1", "01M7ZK0NE1RWBFGSRJT5JS94T2"
BUILT_IN = "polyforge/small"


class Registered:
    """A model `mine` of our project, of which version 2 answers unless 1 is asked for."""

    def find(self, project_id: str, spelled: str) -> Answer | None:
        name, _, number = spelled.partition("@")
        if project_id != OURS or name != "mine":
            return None
        return Answer("mine", f"{OURS}.mine@{number or 2}", int(number or 2), "classification", None)

    def of(self, project_id: str) -> list[Answer]:
        found = self.find(project_id, "mine")
        return [] if found is None else [found]


class Host:
    """Answers by path, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.names = ["densenet"]
        self.status = 200
        self.answer: Any = {}
        self.asked: list[str] = []

    async def ask(self, path: str, body: bytes | None = None, headers: Any = None, *, seconds: float) -> OipAnswer:
        self.asked.append(path)
        if path.endswith("/names"):
            return OipAnswer(200, oip.encode_json(self.names), None, None, None)
        return OipAnswer(self.status, oip.encode_json(self.answer), None, None, "7")


def catalog() -> Catalog:
    able = {
        "local": Capabilities(frozenset({"embedding", "inference", "classification"}), frozenset({"oip"}), free=True),
        "lab": Capabilities(frozenset({"chat"}), frozenset({"openai"}), free=True),
    }
    local = DeploymentSettings(provider="local", model="small")
    models = {
        BUILT_IN: ModelSettings(task="embedding", deployments=(local,)),
        "talk": ModelSettings(deployments=(DeploymentSettings(provider="lab"),)),
        "lab/*": ModelSettings(deployments=(DeploymentSettings(provider="lab"),)),
    }
    registered: Answering = Registered()
    return build_catalog(
        models, able, None, registered=registered, template=ModelSettings(task="embedding", deployments=(local,))
    )


def caller(project: str = OURS, *models: str) -> Caller:
    return Caller("k", "key", "o", project, frozenset({"inference"}), models or None)


def hosted(host: Host, *, repository: bool = True) -> HostedModels:
    client: Any = host
    return HostedModels(client, BUILT_IN, has_repository=repository)


async def test_models_of_the_catalog_are_found_with_their_tasks() -> None:
    models = hosted(Host())
    body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"%s","data":[]}]}'
    for datatype, told in ((b"BYTES", 0), (b"FP32", len(body % b"FP32"))):
        request = TensorRequest("inference", "oip", BUILT_IN, body % datatype)
        found = await models.choose(catalog(), caller(), request)
        # Numbers tell nothing of tokens.
        assert (found.deployments[0].model, request.task, request.binary) == ("small", "embedding", told)


@pytest.mark.parametrize("name", ["talk", "lab/anything"])
async def test_what_only_providers_answer_for_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="is a provider's"):
        await hosted(Host()).find(catalog(), caller(), name)


async def test_models_of_the_repository_are_found_for_every_project_and_asked_for_once() -> None:
    host = Host()
    models = hosted(host)
    request = TensorRequest("inference", "oip", "densenet", b"12345")
    for project in (OURS, THEIRS):
        found = await models.choose(catalog(), caller(project), request)
        assert (found.name, found.deployments[0].model, request.task, request.binary) == (
            "densenet", "densenet", "inference", 5,
        )  # fmt: skip
    assert len(host.asked) == 1
    with pytest.raises(ModelNotFound):
        await models.find(catalog(), caller(OURS, "other"), "densenet")
    with pytest.raises(ModelNotFound):
        await hosted(host, repository=False).find(catalog(), caller(), "densenet")


async def test_a_model_that_comes_later_is_found_as_soon_as_it_is_there() -> None:
    host = Host()
    models = hosted(host)
    with pytest.raises(ModelNotFound):
        await models.find(catalog(), caller(), "later")
    host.names.append("later")
    assert (await models.find(catalog(), caller(), "later")).name == "later"


async def test_registered_models_are_their_projects_alone_whatever_the_host_calls_them() -> None:
    host = Host()
    host.names.append(f"{OURS}.mine")
    models = hosted(host)
    assert (await models.find(catalog(), caller(), "mine")).deployments[0].model == f"{OURS}.mine@2"
    assert (await models.find(catalog(), caller(), "mine", "1")).deployments[0].model == f"{OURS}.mine@1"
    for project in (OURS, THEIRS):
        with pytest.raises(ModelNotFound):
            await models.find(catalog(), caller(project), f"{OURS}.mine")
    with pytest.raises(ModelNotFound):
        await models.find(catalog(), caller(THEIRS), "mine")
    for name in (f"{OURS}.mine", f"{THEIRS}.theirs"):
        with pytest.raises(ModelNotFound):
            models.name_at_host(catalog(), caller(), name)
    assert models.name_at_host(catalog(), caller(), BUILT_IN) == "small"
    assert models.name_at_host(catalog(), caller(), "densenet") == "densenet"


async def test_what_the_host_says_is_told_under_the_callers_name() -> None:
    host = Host()
    models = hosted(host)
    host.answer = {"name": f"{OURS}.mine", "versions": ["1", "2"]}
    status, body = await models.describe(catalog(), caller(), ModelPath("mine", "metadata"))
    assert (status, json.loads(body)) == (200, {"name": "mine", "versions": ["1", "2"]})
    host.status, host.answer = 503, {"error": f"model '{OURS}.mine' is loading"}
    with pytest.raises(ModelFailed) as caught:
        await models.describe(catalog(), caller(), ModelPath("mine", "metadata"))
    assert (caught.value.message, caught.value.status, caught.value.retry_after) == ("model 'mine' is loading", 503, 7)


async def test_the_index_shows_what_a_key_may_use_and_nothing_of_other_projects() -> None:
    host = Host()
    names = ["small", "densenet", f"{OURS}.mine", f"{THEIRS}.theirs"]
    host.answer = [{"name": name, "version": "1", "state": "READY", "reason": ""} for name in names]

    async def shown(who: Caller) -> list[str]:
        return [entry["name"] for entry in json.loads(await hosted(host).index(catalog(), who, b"{}"))]

    assert await shown(caller()) == [BUILT_IN, "densenet", "mine"]
    assert await shown(caller(THEIRS)) == [BUILT_IN, "densenet"]
    assert await shown(caller(OURS, "mine")) == ["mine"]
