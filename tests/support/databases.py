"""Migrated databases for tests, of both kinds: each test has its own, copied from one that was migrated once."""

import itertools
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyforge.database.database import Database
from polyforge.database.settings import DatabaseSettings
from polyforge.wiring.migrate import migrate
from polyforge.wiring.settings import Settings
from tests.support.postgres import Postgres, run_apart

_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """Where a database is."""

    settings: DatabaseSettings
    data: Path

    def database(self) -> Database:
        """A closed database at this place: as many as there are processes to play."""
        return Database(self.settings, self.data)

    def process(self) -> Settings:
        """The settings of a process that uses it."""
        return Settings.model_validate({"data": self.data, "database": self.settings})


MakePlace = Callable[[], Place]


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on; tests that use it run on both."""
    return request.param


@pytest.fixture
def empty(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """A database without a schema."""
    if kind == "sqlite":
        return Place(DatabaseSettings(), tmp_path / "data")
    return _postgres_place(request.getfixturevalue("postgres"), tmp_path)


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """A database with the current schema."""
    if kind == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copytree(template, tmp_path / "data")
        return Place(DatabaseSettings(), tmp_path / "data")
    return _postgres_place(request.getfixturevalue("postgres"), tmp_path, request.getfixturevalue("postgres_template"))


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    """An open database with the current schema."""
    opened = place.database()
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite folder."""
    place = Place(DatabaseSettings(), tmp_path_factory.mktemp("template") / "data")
    run_apart(migrate(place.process()))
    return place.data


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a migrated PostgreSQL database."""
    place = _postgres_place(postgres, tmp_path_factory.mktemp("template"))
    run_apart(migrate(place.process()))
    return place.settings.url.rpartition("/")[2]


def _postgres_place(postgres: Postgres, folder: Path, template: str = "template0") -> Place:
    name = f"test_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return Place(DatabaseSettings(url=postgres.url(name)), folder / "data")
