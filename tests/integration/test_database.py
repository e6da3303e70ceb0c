"""The database: migrations, sessions and what happens when it is not there; on SQLite and on PostgreSQL."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, insert, or_, select, text, true, update
from sqlalchemy.exc import DBAPIError

from polyforge.database.counting import generations
from polyforge.database.database import Database
from polyforge.database.metadata import metadata
from polyforge.database.migrating import advisory_lock, configuration, file_lock
from polyforge.database.schema import HEAD, REVISIONS, current_revision, is_current
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.settings import DatabaseSettings
from polyforge.database.upgrading import ensure_current
from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.tables import organizations, usage_records
from polyforge.wiring.migrate import migrate
from tests.support.databases import Place
from tests.support.ports import refusing_port, silent_port
from tests.support.postgres import Postgres
from tests.unit.tenancy.samples import record

ROW = {"id": "0" * 26, "name": "one", "created_at": 1.0}
OURS = generations.c.name == "keys"
PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


async def ensure(database: Database, place: Place, wait_seconds: float = 60.0) -> bool:
    return await ensure_current(database, place.settings, place.data, metadata, wait_seconds=wait_seconds)


async def migrate_in_a_process(place: Place) -> tuple[int | None, str]:
    """Exit status and output of `polyforge migrate`."""
    command = (sys.executable, "-m", "polyforge", "migrate", "--data", str(place.data))
    environ = {**os.environ, "POLYFORGE_DATABASE__URL": place.settings.url}
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=STDOUT)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


# --- schema ---


def test_the_code_knows_the_revisions_that_the_scripts_have() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == REVISIONS
    assert scripts.get_current_head() == HEAD


async def test_migrating_an_empty_database_gives_the_schema_that_the_code_declares(empty: Place) -> None:
    assert await migrate(empty.process()) == (None, HEAD)
    database = empty.database()
    await database.open()

    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    async with database.bare() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_migrating_twice_changes_nothing(place: Place) -> None:
    assert await migrate(place.process()) == (HEAD, HEAD)


async def test_processes_that_start_at_once_migrate_once(empty: Place) -> None:
    databases = [empty.database() for _ in range(2)]
    for database in databases:
        await database.open()
    upgrades = asyncio.gather(*(ensure(database, empty) for database in databases))
    (status, output), done = await asyncio.gather(migrate_in_a_process(empty), upgrades)
    assert status == 0, output
    assert True in done
    assert await current_revision(databases[0]) == HEAD
    async with databases[0].read() as session:
        assert await session.all(select(generations).order_by(generations.c.name)) == [
            {"name": "configurations", "value": 0},
            {"name": "events", "value": 0},
            {"name": "flags", "value": 0},
            {"name": "flows", "value": 0},
            {"name": "job_claims", "value": 0},
            {"name": "keys", "value": 0},
            {"name": "limits", "value": 0},
            {"name": "models", "value": 0},
            {"name": "request_logs", "value": 0},
            {"name": "sealing", "value": 0},
            {"name": "signing_keys", "value": 0},
        ]
    assert await ensure(databases[0], empty) is False
    for database in databases:
        await database.close()


async def test_a_newer_schema_is_refused(database: Database, place: Place) -> None:
    async with database.bare() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="its schema is 9999, this version knows up to"):
        await is_current(database)
    with pytest.raises(SettingsError, match="its schema is 9999"):
        await migrate(place.process())
    status, output = await migrate_in_a_process(place)
    assert status == 2
    assert output.startswith("polyforge: database: its schema is 9999")


async def test_a_migration_that_fails_changes_nothing(empty: Place) -> None:
    database = empty.database()
    await database.open()
    async with database.bare() as connection:
        await connection.execute(text("CREATE TABLE usage_records (id INTEGER)"))
    with pytest.raises(DBAPIError, match="already exists"):
        await ensure(database, empty)
    assert await current_revision(database) is None
    async with database.bare() as connection:
        await connection.execute(text("DROP TABLE usage_records"))
    assert await ensure(database, empty) is True
    await database.close()


async def test_a_migration_that_another_one_keeps_waiting_for_too_long_is_unavailable(empty: Place) -> None:
    database = empty.database()
    await database.open()
    async with migrating(empty):
        with pytest.raises(Unavailable):
            await ensure(database, empty, wait_seconds=0.2)
    assert await ensure(database, empty) is True
    await database.close()


@asynccontextmanager
async def migrating(place: Place) -> AsyncGenerator[None]:
    """A process that migrates and takes its time over it."""
    database = place.database()
    await database.open()
    async with file_lock(database, place.data, 1.0), database.bare() as connection:
        await advisory_lock(database, connection)
        yield
    await database.close()


async def test_a_gateway_loads_neither_alembic_nor_what_runs_jobs() -> None:
    code = (
        "import sys, polyforge.server.process; "
        "sys.exit(any(name.split('.')[0] in ('alembic', 'mako', 'dbos', 'psycopg') for name in sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


# --- sessions ---


async def test_a_write_is_there_after_its_block_and_gone_when_the_block_raises(database: Database) -> None:
    async with database.write() as session:
        assert await session.change(insert(organizations).values(ROW)) == 1
        assert await session.scalar(select(organizations.c.name)) == "one"
    with pytest.raises(KeyError):
        await _change_and_fail(database)
    async with database.read() as session:
        assert await session.all(select(organizations)) == [ROW]


async def _change_and_fail(database: Database) -> None:
    async with database.write() as session:
        await session.change(update(organizations).values(name="two"))
        raise KeyError


async def test_the_database_itself_keeps_a_reader_from_writing(database: Database) -> None:
    sneaky: Any = insert(organizations).values(ROW).returning(organizations.c.id)
    with pytest.raises((DBAPIError, Unavailable)):
        async with database.read() as session:
            await session.all(sneaky)
    async with database.write() as session:
        assert await session.change(insert(organizations).values(ROW)) == 1


async def test_writers_wait_for_each_other(database: Database, place: Place) -> None:
    other = place.database()
    await other.open()

    async def bump(which: Database) -> None:
        async with which.write() as session:
            # Takes the row lock on PostgreSQL; on SQLite the transaction has the lock already.
            value = await session.scalar(select(generations.c.value).where(OURS).with_for_update())
            await asyncio.sleep(0)
            await session.change(update(generations).where(OURS).values(value=value + 1))

    await asyncio.gather(*(bump(which) for which in [database, other] * 10))
    async with database.read() as session:
        assert await session.scalar(select(generations.c.value).where(OURS)) == 20
    await other.close()


async def test_a_lock_that_is_held_for_too_long_is_unavailable(place: Place) -> None:
    hasty = Database(place.settings.model_copy(update={"timeout_seconds": 0.2}), place.data)
    await hasty.open()
    holder = place.database()
    await holder.open()
    async with holder.write() as session:
        await session.change(update(generations).where(OURS).values(value=1))
        with pytest.raises(Unavailable) as refused:
            async with hasty.write() as late:
                await late.change(update(generations).where(OURS).values(value=2))
        assert refused.value.retry_after
    async with hasty.write() as session:
        await session.change(update(generations).where(OURS).values(value=3))
    await hasty.close()
    await holder.close()


async def test_a_cancelled_write_leaves_nothing_and_frees_its_connection(place: Place) -> None:
    small = Database(place.settings.model_copy(update={"pool_size": 2}), place.data)
    await small.open()
    entered = asyncio.Event()

    async def hang() -> None:
        async with small.write() as session:
            await session.change(insert(organizations).values(ROW))
            entered.set()
            await asyncio.sleep(3600)

    for _ in range(3):
        entered.clear()
        task = asyncio.create_task(hang())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with small.write() as session:
        assert await session.all(select(organizations)) == []
    await small.close()


async def test_a_pool_that_is_used_up_is_unavailable(place: Place) -> None:
    small = Database(place.settings.model_copy(update={"pool_size": 2, "timeout_seconds": 0.2}), place.data)
    await small.open()
    async with contextlib.AsyncExitStack() as held:
        with pytest.raises(Unavailable):
            await _hold(held, small)
    async with small.read() as session:
        assert await session.scalar(select(generations.c.value).where(OURS)) == 0
    await small.close()


async def _hold(held: contextlib.AsyncExitStack, database: Database) -> None:
    for _ in range(8):
        await held.enter_async_context(database.read())


async def test_a_wrong_statement_is_a_bug_and_not_an_outage(database: Database) -> None:
    with pytest.raises(DBAPIError, match="nowhere"):
        async with database.read() as session:
            await session.all(select(text("nowhere")))


# --- scopes ---


async def test_nothing_that_a_query_adds_takes_it_out_of_its_scope(database: Database) -> None:
    mine, theirs = Scope("O1", "P1"), Scope("O1", "P2")
    calls = [record(organization_id=scope.organization_id, project_id=scope.project_id) for scope in (mine, theirs)]
    await LedgerStore(database).append("j", 0, 1, calls)
    columns = usage_records.c
    async with database.write() as session:
        writer = ScopedWriter(session, mine, usage_records)
        wide = await writer.all(columns.id, refine=lambda query: query.where(or_(true(), columns.id == calls[1].id)))
        assert [row["id"] for row in wide] == [calls[0].id]
        assert await writer.first(refine=lambda query: query.where(columns.id == calls[1].id)) is None
        assert await writer.update(true(), {"model": "x", "project_id": "P2"}) == 1
        row = dict(await writer.first() or {})
        await writer.insert({**row, "id": "N", "project_id": "P2", "organization_id": "O2"})
    async with database.read() as session:
        assert len(await ScopedReader(session, mine, usage_records).all(columns.id)) == 2
        assert (await ScopedReader(session, theirs, usage_records).all(columns.model)) == [{"model": "assistant"}]


# --- PostgreSQL that is down, slow or set up wrongly ---


@pytest.fixture
def own_postgres(postgres: Postgres) -> Iterator[Postgres]:
    """The server, for tests that stop it; it runs again afterwards."""
    yield postgres
    postgres.stop()
    postgres.start()


async def open_database(url: str, tmp_path: Path, seconds: float = 5.0) -> Database:
    database = Database(DatabaseSettings(url=url, timeout_seconds=seconds), tmp_path)
    await database.open()
    return database


async def _ask_while_it_stops(database: Database, server: Postgres) -> None:
    async with database.read() as session:
        assert await session.scalar(select(1)) == 1
        server.stop()
        await session.scalar(select(1))


async def test_a_server_that_goes_away_is_unavailable_until_it_is_back(own_postgres: Postgres, tmp_path: Path) -> None:
    database = await open_database(own_postgres.url("postgres"), tmp_path)
    with pytest.raises(Unavailable):
        await _ask_while_it_stops(database, own_postgres)
    for block in (database.read, database.write):
        with pytest.raises(Unavailable):
            async with block():
                pass
    own_postgres.start()
    async with database.write() as session:
        assert await session.scalar(select(1)) == 1
    await database.close()


async def test_a_statement_that_takes_too_long_is_unavailable(postgres: Postgres, tmp_path: Path) -> None:
    database = await open_database(postgres.url("postgres"), tmp_path, seconds=0.3)
    with pytest.raises(Unavailable):
        async with database.read() as session:
            await session.scalar(select(func.pg_sleep(30)))
    async with database.read() as session:
        assert await session.scalar(select(1)) == 1
    await database.close()


async def test_a_server_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    with refusing_port() as refusing, silent_port() as silent:
        for port in (refusing, silent):
            database = await open_database(f"postgresql://u@127.0.0.1:{port}/d", tmp_path, seconds=0.3)
            with pytest.raises(Unavailable) as refused:
                await ensure_current(database, DatabaseSettings(), tmp_path, metadata)
            assert str(port) not in refused.value.message
            await database.close()


async def test_a_database_that_does_not_exist_is_a_wrong_setting(postgres: Postgres, tmp_path: Path) -> None:
    database = await open_database(postgres.url("absent"), tmp_path)
    with pytest.raises(SettingsError, match=r'database\.url: .*"absent" does not exist'):
        await ensure_current(database, DatabaseSettings(), tmp_path, metadata)
    await database.close()


async def test_parameters_of_the_address_mean_what_they_mean_to_psql(postgres: Postgres, tmp_path: Path) -> None:
    database = await open_database(postgres.url("postgres?sslmode=disable&application_name=mine"), tmp_path)
    async with database.read() as session:
        assert await session.scalar(select(1)) == 1
    await database.close()
    demanding = await open_database(postgres.url("postgres?sslmode=require"), tmp_path)
    with pytest.raises(Unavailable):
        async with demanding.read():
            pass
    await demanding.close()


# --- SQLite ---


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "polyforge.db").write_bytes(os.urandom(8192))
    database = await open_database("sqlite", tmp_path)
    with pytest.raises(Unavailable):
        async with database.write():
            pass
    await database.close()


async def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match="data: cannot create the folder"):
        await open_database("sqlite", tmp_path / "file" / "data")


async def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    database = await open_database("sqlite", tmp_path)
    async with database.bare() as connection:
        answers = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in PRAGMAS]
    assert dict(zip(PRAGMAS, answers, strict=True)) == PRAGMAS
    await database.close()
