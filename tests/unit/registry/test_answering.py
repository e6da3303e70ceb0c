"""The file that tells the workers of a machine which version answers, and the catalogue over it."""

from pathlib import Path

import pytest

from polyforge.kernel.errors import Invalid, ModelNotFound
from polyforge.kernel.hosted_names import deployed_name, hosted_name, is_hosted, split_deployed
from polyforge.ports.provider import Capabilities
from polyforge.registry.answering import (
    MAX_ANSWERING,
    AnsweringFile,
    AnsweringModel,
    AnsweringVersion,
    answering_path,
    read_answering,
    write_answering,
)
from polyforge.registry.caching import ModelCacheSettings
from polyforge.registry.catalog import LOCAL, Catalog, build_catalog
from polyforge.registry.settings import DeploymentSettings, ModelSettings

MINE, THEIRS = "0" * 25 + "P", "0" * 25 + "Q"
PRICE = {"input": 2.0}


def model(project: str, name: str, *, default: int | None = 2) -> AnsweringModel:
    versions = (
        AnsweringVersion("a", 1, 0, "embedding"),
        AnsweringVersion("b", 2, 5, "rerank", PRICE),
    )
    return AnsweringModel(project, name, versions, {"production": 1, "gone": 9}, default)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return answering_path(tmp_path)


def followed(path: Path, *models: AnsweringModel) -> AnsweringFile:
    write_answering(path, models)
    file = AnsweringFile(path)
    file.look()
    return file


def catalog(registered: AnsweringFile) -> Catalog:
    local = Capabilities(tasks=frozenset({"embedding"}), dialects=frozenset(), free=True)
    places = (DeploymentSettings(provider=LOCAL, model="static"),)
    template = ModelSettings(task="embedding", deployments=places, cache=ModelCacheSettings())
    declared = {"declared": ModelSettings(task="embedding", deployments=places)}
    return build_catalog(declared, {LOCAL: local}, None, registered=registered, template=template)


def test_names_lead_to_versions_and_only_in_their_project(path: Path) -> None:
    found = followed(path, model(MINE, "m"))
    spelled = {name: found.find(MINE, name) for name in ("m", "m@1", "m@2", "m@production")}
    assert {name: answer.deployed[-1] for name, answer in spelled.items() if answer} == {
        "m": "2",
        "m@1": "1",
        "m@2": "2",
        "m@production": "1",
    }
    for absent in ("m@gone", "m@3", "m@", "M", f"{MINE}.m@1"):
        assert found.find(MINE, absent) is None, absent
    assert found.find(THEIRS, "m") is None
    assert (len(found.of(MINE)), found.of(THEIRS)) == (1, ())


def test_another_file_is_read_and_a_broken_one_changes_nothing(path: Path) -> None:
    found = followed(path, model(MINE, "m"))
    write_answering(path, [model(MINE, "n")])
    found.look()
    assert (found.find(MINE, "m"), found.find(MINE, "n")) != (None, None)
    assert found.find(MINE, "m") is None
    path.write_text("{")
    found.look()
    assert found.find(MINE, "n") is not None
    with pytest.raises(Invalid, match="cannot be read"):
        read_answering(path)
    path.write_text('{"models": [], "format": 2}')
    with pytest.raises(Invalid, match="format 2"):
        read_answering(path)


def test_a_price_that_this_version_does_not_read_changes_nothing(path: Path) -> None:
    found = followed(path, model(MINE, "m"))
    priced = AnsweringVersion("c", 3, 1, "embedding", {"input": "much"})
    write_answering(path, [AnsweringModel(MINE, "other", (priced,), {}, 3)])
    found.look()
    assert found.find(MINE, "m") is not None
    assert found.find(MINE, "other") is None


def test_before_there_is_a_file_nothing_answers(path: Path) -> None:
    file = AnsweringFile(path)
    file.look()
    assert file.find(MINE, "m") is None
    assert read_answering(path) == ()


def test_the_catalogue_has_them_beside_the_declared_ones(path: Path) -> None:
    found = catalog(followed(path, model(MINE, "m"), model(MINE, "declared"), model(MINE, "hidden", default=None)))
    second = found.find("m", MINE)
    place = second.deployments[0]
    assert (second.name, second.task, place.provider, place.model) == ("m", "rerank", LOCAL, f"{MINE}.m@2")
    assert place.price is not None
    assert place.price.input == 2_000_000
    first = found.find("m@production", MINE)
    assert (first.name, first.deployments[0].model) == ("m", f"{MINE}.m@1")
    assert first.cache is not None
    assert second.cache is not None
    assert first.cache.tag != second.cache.tag
    assert first.deployments[0].index != place.index
    assert place.index < found.deployment_count() <= 1 + MAX_ANSWERING
    assert found.find("declared", MINE).deployments[0].model == "static"
    assert [each.name for each in found.listed(MINE)] == ["declared", "m"]
    assert [each.name for each in found.listed(THEIRS)] == ["declared"]
    assert [each.name for each in found.listed()] == ["declared"]
    for spelled, project in (("m", THEIRS), ("m", ""), (f"{MINE}.m@1", MINE)):
        with pytest.raises(ModelNotFound):
            found.find(spelled, project)


def test_no_wildcard_leads_to_a_registered_model() -> None:
    local = Capabilities(tasks=frozenset({"embedding"}), dialects=frozenset(), free=True)
    wildcard = ModelSettings(task="embedding", deployments=(DeploymentSettings(provider=LOCAL),))
    found = build_catalog({"any/*": wildcard}, {LOCAL: local}, None)
    assert found.find("any/plus").deployments[0].model == "plus"
    for name in (f"{MINE}.m@1", f"{MINE}.m"):
        with pytest.raises(ModelNotFound):
            found.find(f"any/{name}", MINE)


def test_names_in_the_host_are_told_from_all_others() -> None:
    name = deployed_name(MINE, "a.b-c", 12)
    assert split_deployed(name) == (hosted_name(MINE, "a.b-c"), "12")
    assert is_hosted(name)
    for other in ("m@1", f"{MINE}.m", f"{MINE}.m@0", f"{MINE}.m@x", f"{MINE.lower()}.m@1", f"{MINE}.m/../n@1"):
        assert split_deployed(other) is None, other
