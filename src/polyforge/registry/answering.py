"""Which version answers on this machine for each name of a registered model.

One process of the machine writes it down, in a file, once a version is ready to take over; all workers of the machine
follow that file. So traffic moves when the host is ready for it, and goes on moving nothing while the database is away.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.kernel.hosted_names import deployed_name
from polyforge.kernel.prices import PriceList
from polyforge.kernel.tasks import Task
from polyforge.registry.state_files import read_state, write_state
from polyforge.registry.tariffs import Tariff, tariff_of
from polyforge.telemetry.logs import get_logger

FORMAT: Final = 1
MAX_ANSWERING: Final = 1_000
"""Most versions that one machine answers for."""
MAX_BYTES: Final = 64 * 1024 * 1024
LOOK_SECONDS: Final = 0.5
AT: Final = "@"
"""Stands between a model and the alias or the number of the version that is meant."""

_log = get_logger(__name__)


class AnsweringVersion(msgspec.Struct, frozen=True):
    """One version that requests may be sent to. `slot` is its number among those of the machine."""

    id: str
    number: int
    slot: int
    task: Task
    price: Mapping[str, Any] | None = None
    """What its callers are charged, as the settings write prices; None: nothing."""


class AnsweringModel(msgspec.Struct, frozen=True):
    """A registered model: what each alias stands for now, and what the name alone does."""

    project_id: str
    name: str
    versions: tuple[AnsweringVersion, ...]
    aliases: Mapping[str, int] = {}
    default: int | None = None


class _File(msgspec.Struct, frozen=True):
    models: tuple[AnsweringModel, ...]
    format: int = FORMAT


class Answer(msgspec.Struct, frozen=True):
    """One version by a name that leads to it."""

    name: str
    deployed: str
    """What the version is called in the host."""
    slot: int
    task: Task
    price: Tariff | None


class Answering(Protocol):
    """The registered models that answer."""

    def find(self, project_id: str, spelled: str) -> Answer | None:
        """What answers to a name in a project, with or without the alias or the version; None: nothing does."""
        ...

    def of(self, project_id: str) -> Sequence[Answer]:
        """What answers to the names alone in a project."""
        ...


class NothingRegistered:
    """Where no project has models of its own."""

    def find(self, project_id: str, spelled: str) -> Answer | None:
        """Nothing."""
        return None

    def of(self, project_id: str) -> Sequence[Answer]:
        """Nothing."""
        return ()


def answering_path(data: Path) -> Path:
    """Where the file is in a data folder."""
    return data / "models" / "answering.json"


def read_answering(path: Path) -> tuple[AnsweringModel, ...]:
    """What is written down, nothing while there is no file; Invalid when it cannot be read."""
    found = read_state(path, _File, MAX_BYTES)
    if found is None:
        return ()
    if found.format != FORMAT:
        raise Invalid(f"{path.name} has format {found.format}; this version reads {FORMAT}")
    return found.models


def write_answering(path: Path, models: Sequence[AnsweringModel]) -> None:
    """Replace the file, for readers at once and whole."""
    write_state(path, _File(tuple(models)))


class AnsweringFile:
    """The file as one worker sees it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._answers: Mapping[tuple[str, str], Answer] = {}
        self._listed: Mapping[str, Sequence[Answer]] = {}

    async def follow(self) -> None:
        """Until it is cancelled: read the file whenever it is another."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Read the file if it is another than at the last look; while it cannot be read, what was read before holds."""
        seen = _identity(self._path)
        if seen == self._seen:
            return
        try:
            answers, listed = _index(read_answering(self._path))
        except (Invalid, msgspec.ValidationError) as error:
            _log.error("the registered models stay as they are", reason=str(error))
        else:
            self._answers, self._listed = answers, listed
        self._seen = seen

    def find(self, project_id: str, spelled: str) -> Answer | None:
        """What answers to a name in a project, with or without the alias or the version; None: nothing does.

        Before it says so it looks once more: whoever was just told that a version is ready may ask at once.
        """
        found = self._answers.get((project_id, spelled))
        if found is None:
            self.look()
            found = self._answers.get((project_id, spelled))
        return found

    def of(self, project_id: str) -> Sequence[Answer]:
        """What answers to the names alone in a project."""
        return self._listed.get(project_id, ())


def _identity(path: Path) -> tuple[int, int] | None:
    """Another one for each file that was put there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _index(
    models: Sequence[AnsweringModel],
) -> tuple[Mapping[tuple[str, str], Answer], Mapping[str, Sequence[Answer]]]:
    answers: dict[tuple[str, str], Answer] = {}
    listed: dict[str, list[Answer]] = defaultdict(list)
    for model in models:
        versions = {version.number: _answer(model, version) for version in model.versions}
        spellings = {str(number): number for number in versions} | dict(model.aliases)
        for which, number in spellings.items():
            if number in versions:
                answers[model.project_id, f"{model.name}{AT}{which}"] = versions[number]
        if model.default in versions:
            answers[model.project_id, model.name] = versions[model.default]
            listed[model.project_id].append(versions[model.default])
    return answers, listed


def _answer(model: AnsweringModel, version: AnsweringVersion) -> Answer:
    price = None if version.price is None else tariff_of(msgspec.convert(version.price, PriceList))
    deployed = deployed_name(model.project_id, model.name, version.number)
    return Answer(model.name, deployed, version.slot, version.task, price)
