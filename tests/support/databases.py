"""Migrated databases for tests, of both kinds: each test has an empty one, made from one that was migrated once."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import column, select, table

from polyforge.database.counting import generations
from polyforge.database.database import Database
from polyforge.database.metadata import metadata
from polyforge.database.schema import HEAD
from polyforge.database.settings import DatabaseSettings
from polyforge.tenancy.audit.tables import audit_heads
from polyforge.wiring.migrate import migrate
from polyforge.wiring.settings import Settings
from tests.support.postgres import Postgres, run_apart
from tests.support.waiting import DEADLINE, PAUSE


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


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on; tests that use it run on both."""
    return request.param


@pytest.fixture
def empty(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A database without a schema."""
    if kind == "sqlite":
        yield Place(DatabaseSettings(), tmp_path / "data")
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with created(postgres, "empty") as settings:
        yield Place(settings, tmp_path / "data")


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """A database with the current schema and nothing in it."""
    if kind == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copytree(template, tmp_path / "data")
        return Place(DatabaseSettings(), tmp_path / "data")
    name: str = request.getfixturevalue("postgres_schema")
    postgres: Postgres = request.getfixturevalue("postgres")
    postgres.execute(_as_new(), name)
    return Place(DatabaseSettings(url=postgres.url(name)), tmp_path / "data")


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    """An open database with the current schema and nothing in it."""
    opened = place.database()
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite folder, to be copied."""
    place = Place(DatabaseSettings(), tmp_path_factory.mktemp("template") / "data")
    run_apart(migrate(place.process()))
    return place.data


@pytest.fixture(scope="session")
def postgres_schema(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a migrated PostgreSQL database, which tests use one after the other."""
    with created(postgres, "migrated") as settings:
        run_apart(migrate(Place(settings, tmp_path_factory.mktemp("migrated")).process()))
        yield "migrated"


@contextmanager
def created(postgres: Postgres, name: str) -> Generator[DatabaseSettings]:
    """A new PostgreSQL database for as long as the block runs."""
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield DatabaseSettings(url=postgres.url(name))
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def somebody_waits(database: Database) -> None:
    """Until a statement of another connection to PostgreSQL waits for a lock."""
    activity = table("pg_stat_activity", column("pid"), column("wait_event_type"))
    waiting = select(activity.c.pid).where(activity.c.wait_event_type == "Lock")
    async with asyncio.timeout(DEADLINE):
        while True:
            async with database.read() as session:
                if await session.first(waiting) is not None:
                    return
            await asyncio.sleep(PAUSE)


NO_AUDIT = "UPDATE audit_heads SET sequence = 0, hash = decode(repeat('00', 32), 'hex')"


def _as_new() -> str:
    tables = ", ".join(table.name for table in metadata.sorted_tables if table not in (generations, audit_heads))
    versions = f"UPDATE generations SET value = 0; {NO_AUDIT}; UPDATE alembic_version SET version_num = '{HEAD}'"
    return f"TRUNCATE {tables}; {versions}"
