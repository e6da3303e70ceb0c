"""Moves names from one version to the next, pure: only once the next is ready, and never to what is gone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast, get_args

from polyforge.kernel.hosted_names import deployed_name
from polyforge.kernel.tasks import Task
from polyforge.registry.answering import MAX_ANSWERING, AnsweringModel, AnsweringVersion
from polyforge.registry.deployments.records import PRODUCTION, WantedModel
from polyforge.registry.versions.records import Version

TASKS = frozenset[str](get_args(Task))
UNKNOWN_TASK: Task = "inference"
"""What a model does of which nothing is said: tensors in, tensors out."""


def moved(
    wanted: Sequence[WantedModel],
    before: Sequence[AnsweringModel],
    ready: Collection[str],
    live: Collection[str],
) -> tuple[AnsweringModel, ...]:
    """What answers from now on.

    `ready` names the versions that the host answers for, by their names there, and `live` has the ids of versions that
    were not removed. A name stays with the version that has answered so far until the wanted one is ready.
    """
    known = {(each.project_id, each.name): each for each in before}
    slots = _free_slots(before)
    found: list[AnsweringModel] = []
    for model in wanted:
        earlier = known.get((model.model.project_id, model.model.name))
        found.append(_Move(model, earlier, ready, live, slots).model())
    return tuple(each for each in found if each.versions)


class _Move:
    """One model's."""

    def __init__(
        self,
        wanted: WantedModel,
        earlier: AnsweringModel | None,
        ready: Collection[str],
        live: Collection[str],
        slots: Iterator[int],
    ) -> None:
        self._wanted = wanted
        self._aliases: Mapping[str, int] = {} if earlier is None else earlier.aliases
        self._default = None if earlier is None else earlier.default
        versions = () if earlier is None else earlier.versions
        self._earlier = {each.number: each for each in versions if each.id in live}
        self._ready = ready
        self._slots = slots

    def model(self) -> AnsweringModel:
        wanted = self._wanted
        aliases = {alias: self._chosen(number, self._aliases.get(alias)) for alias, number in wanted.aliases.items()}
        default = aliases.get(PRODUCTION)
        if default is None and wanted.default is not None:
            default = self._chosen(wanted.default, self._default)
        numbers = {*wanted.versions, *aliases.values(), *(() if default is None else (default,))}
        versions = [found for number in sorted(numbers) if (found := self._version(number)) is not None]
        return AnsweringModel(wanted.model.project_id, wanted.model.name, tuple(versions), aliases, default)

    def _chosen(self, target: int, current: int | None) -> int:
        """The version that a name stands for now."""
        if current is None or current not in self._earlier or self._wanted.name_of(target) in self._ready:
            return target
        return current

    def _version(self, number: int) -> AnsweringVersion | None:
        known = self._earlier.get(number)
        if known is not None:
            return known
        version, slot = self._wanted.versions.get(number), next(self._slots, None)
        if version is None or slot is None:
            return None
        return AnsweringVersion(version.id, number, slot, task_of(version), version.configuration.get("price"))


def names_of(models: Sequence[AnsweringModel]) -> set[str]:
    """What the versions that answer are called in a host."""
    return {deployed_name(model.project_id, model.name, each.number) for model in models for each in model.versions}


def task_of(version: Version) -> Task:
    """What a version is for: as it was said, or else as it was found."""
    for place in cast("tuple[Mapping[str, Any], ...]", (version.configuration, version.card)):
        task = place.get("task")
        if task in TASKS:
            return cast(Task, task)
    return UNKNOWN_TASK


def _free_slots(before: Sequence[AnsweringModel]) -> Iterator[int]:
    used = {version.slot for model in before for version in model.versions}
    return (slot for slot in range(MAX_ANSWERING) if slot not in used)
