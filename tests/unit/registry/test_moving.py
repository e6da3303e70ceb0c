"""Which version a name leads to while others come, load, fail and go."""

from collections.abc import Mapping
from typing import Any

import pytest

from polyforge.registry.answering import AnsweringModel
from polyforge.registry.deployments.moving import moved, names_of
from polyforge.registry.deployments.records import WantedModel, summed_up, wanted_of
from polyforge.registry.versions.records import RegisteredModel, Version

ORGANIZATION, PROJECT, OTHER = "0" * 25 + "R", "0" * 25 + "P", "0" * 25 + "Q"


def version(number: int, **configuration: Any) -> Version:
    return Version(
        id=f"version-{number}",
        organization_id=ORGANIZATION,
        project_id=PROJECT,
        model_id="model",
        number=number,
        artifact=f"{number:064x}",
        bytes=1,
        files=1,
        source="file:///m",
        pinned="file:///m",
        revision="",
        configuration=configuration,
        signature=None,
        card={"task": "embedding"},
        metrics={},
        created_by="key",
        created_at=0.0,
        removed_at=None,
    )


def model(newest: int, aliases: Mapping[str, int], *, project: str = PROJECT, protected: bool = False) -> WantedModel:
    kind = RegisteredModel(
        id="model",
        organization_id=ORGANIZATION,
        project_id=project,
        name="m",
        description="",
        protected=["production"] if protected else [],
        last_version=newest,
        created_by="key",
        created_at=0.0,
        removed_at=None,
    )
    numbers, default = wanted_of(kind, aliases, newest)
    return WantedModel(kind, aliases, {number: version(number) for number in numbers}, default)


def ready(*numbers: int) -> set[str]:
    return {f"{PROJECT}.m@{number}" for number in numbers}


def live(*numbers: int) -> set[str]:
    return {f"version-{number}" for number in numbers}


def numbers(found: tuple[AnsweringModel, ...]) -> list[int]:
    return [each.number for each in found[0].versions]


@pytest.mark.parametrize(
    ("aliases", "protected", "wanted", "default"),
    [
        ({}, False, {3}, 3),
        ({"production": 1}, False, {1, 3}, 1),
        ({"staging": 2}, False, {2, 3}, 3),
        ({}, True, set[int](), None),
        ({"production": 1, "staging": 2}, True, {1, 2}, 1),
        ({"staging": 2}, True, {2}, None),
    ],
)
def test_aliases_and_what_nobody_has_to_approve_is_wanted(
    aliases: dict[str, int], protected: bool, wanted: set[int], default: int | None
) -> None:
    kind = model(3, {}, protected=protected).model
    assert wanted_of(kind, aliases, 3) == (wanted, default)


def test_a_name_stays_until_the_next_version_is_ready() -> None:
    first = moved([model(1, {"production": 1})], (), ready(), live(1))
    assert (first[0].aliases, first[0].default) == ({"production": 1}, 1)
    wanted = [model(2, {"production": 2})]
    loading = moved(wanted, first, ready(1), live(1, 2))
    assert (loading[0].aliases, loading[0].default, numbers(loading)) == ({"production": 1}, 1, [1, 2])
    assert names_of(loading) == ready(1, 2)
    done = moved(wanted, loading, ready(1, 2), live(1, 2))
    assert (done[0].aliases, done[0].default, numbers(done)) == ({"production": 2}, 2, [2])


def test_a_version_that_never_gets_ready_takes_no_name() -> None:
    first = moved([model(1, {"production": 1})], (), ready(1), live(1))
    for _ in range(3):
        first = moved([model(2, {"production": 2})], first, ready(1), live(1, 2))
    assert (first[0].aliases, first[0].default) == ({"production": 1}, 1)


def test_what_was_removed_answers_to_nothing_whatever_comes_after_it() -> None:
    first = moved([model(1, {"production": 1})], (), ready(1), live(1))
    after = moved([model(2, {"production": 2})], first, ready(1), live(2))
    assert (after[0].aliases, numbers(after)) == ({"production": 2}, [2])
    assert moved([], first, ready(1), live(1)) == ()


def test_an_alias_that_was_taken_away_leads_nowhere_at_once() -> None:
    first = moved([model(2, {"production": 1, "staging": 2})], (), ready(1, 2), live(1, 2))
    after = moved([model(2, {"production": 1})], first, ready(1, 2), live(1, 2))
    assert after[0].aliases == {"production": 1}
    without = moved([model(2, {})], after, ready(1, 2), live(1, 2))
    assert (without[0].aliases, without[0].default, numbers(without)) == ({}, 2, [2])


def test_versions_keep_their_slots_and_share_none() -> None:
    first = moved([model(1, {}), model(1, {}, project=OTHER)], (), set(), live(1))
    slots = {each.project_id: each.versions[0].slot for each in first}
    assert len(set(slots.values())) == 2
    later = moved([model(2, {"a": 1}, project=OTHER)], first, set(), live(1, 2))
    assert later[0].versions[0].slot == slots[OTHER]
    assert later[0].versions[1].slot not in slots.values()


def test_several_machines_are_as_good_as_the_worst() -> None:
    assert summed_up(["ready", "failed"], wanted=True) == "failed"
    assert summed_up(["ready", "loading"], wanted=True) == "loading"
    assert summed_up(["ready", "ready"], wanted=True) == "ready"
    assert summed_up([], wanted=True) == "pending"
    assert summed_up(["ready"], wanted=False) == "idle"
