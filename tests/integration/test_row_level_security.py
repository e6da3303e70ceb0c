"""The second wall: with a scope, PostgreSQL itself hides the rows of other tenants, whatever a query asks for."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import and_, column, func, insert, select, table, update
from sqlalchemy.exc import DBAPIError

from polyforge.database.database import Database
from polyforge.database.metadata import metadata
from polyforge.database.scopes import Scope
from polyforge.database.settings import DatabaseSettings
from polyforge.database.walls import Binding, binding_of
from polyforge.tenancy.tables import api_keys, organizations, projects
from polyforge.wiring.migrate import migrate
from tests.support.databases import Place, created
from tests.support.postgres import Postgres, run_apart

WALLED = {
    "api_keys",
    "audit_events",
    "batches",
    "files",
    "flow_alias_changes",
    "flow_aliases",
    "flow_approvals",
    "flow_drafts",
    "flow_publications",
    "flow_results",
    "flow_run_events",
    "flow_runs",
    "flow_trigger_firings",
    "flow_triggers",
    "flow_versions",
    "flows",
    "group_members",
    "groups",
    "idempotent_requests",
    "job_logs",
    "job_messages",
    "job_schedules",
    "jobs",
    "invitations",
    "limit_states",
    "limits",
    "memberships",
    "model_aliases",
    "model_deployments",
    "model_imports",
    "model_servings",
    "model_versions",
    "model_watches",
    "projects",
    "registered_models",
    "request_feedback",
    "request_payloads",
    "conversations",
    "responses",
    "roles",
    "secrets",
    "service_accounts",
    "usage_corrections",
    "usage_days",
    "usage_hours",
    "usage_minutes",
    "usage_records",
    "usage_series",
}


def ulid(digit: int) -> str:
    return f"{digit:026d}"


@pytest.fixture
async def ours(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Database]:
    """A database whose owner is no superuser, as it should be: superusers see through every wall."""
    with created(postgres, "walled") as settings:
        postgres.execute("CREATE ROLE tenant LOGIN; ALTER DATABASE walled OWNER TO tenant")
        postgres.execute("ALTER SCHEMA public OWNER TO tenant", "walled")
        url = settings.url.replace("//polyforge@", "//tenant@")
        place = Place(DatabaseSettings(url=url), tmp_path)
        run_apart(migrate(place.process()))
        database = place.database()
        await database.open()
        await _fill(database)
        yield database
        await database.close()
    postgres.execute("DROP ROLE tenant")


async def _fill(database: Database) -> None:
    async with database.write() as session:
        for number in (1, 2):
            await session.change(insert(organizations).values(id=ulid(number), name=f"o{number}", created_at=1.0))
        for number, organization in ((11, 1), (12, 1), (21, 2)):
            owner = {"organization_id": ulid(organization), "created_at": 1.0}
            await session.change(insert(projects).values(id=ulid(number), name=f"p{number}", **owner))
            row = _key(number, organization)
            await session.change(insert(api_keys).values(**row))


def _key(project: int, organization: int, number: int | None = None) -> dict[str, object]:
    number = number or project
    return {
        "id": ulid(number),
        "organization_id": ulid(organization),
        "project_id": ulid(project),
        "name": "k",
        "prefix": "pf-",
        "hash": number.to_bytes(32),
        "scopes": [],
        "budget_period": "total",
        "created_at": 1.0,
        "version": number,
    }


async def test_a_query_without_a_condition_sees_its_own_tenant_only(ours: Database) -> None:
    async def seen(scope: Scope | None) -> tuple[list[str], int]:
        async with ours.read(scope) as session:
            rows = await session.all(select(api_keys.c.id).order_by(api_keys.c.id))
            return [row["id"] for row in rows], await session.scalar(select(func.count()).select_from(projects))

    assert await seen(Scope(ulid(1), ulid(11))) == ([ulid(11)], 2)
    assert await seen(Scope(ulid(1))) == ([ulid(11), ulid(12)], 2)
    assert await seen(Scope(ulid(2))) == ([ulid(21)], 1)
    assert await seen(Scope(ulid(3), ulid(31))) == ([], 0)
    assert await seen(None) == ([ulid(11), ulid(12), ulid(21)], 3)


async def test_a_change_without_a_condition_touches_its_own_tenant_only(ours: Database) -> None:
    async with ours.write(Scope(ulid(1), ulid(11))) as session:
        assert await session.change(update(api_keys).values(name="mine")) == 1
    async with ours.read() as session:
        rows = await session.all(select(api_keys.c.name).order_by(api_keys.c.id))
        assert [row["name"] for row in rows] == ["mine", "k", "k"]


async def test_no_row_is_written_into_another_tenant(ours: Database) -> None:
    with pytest.raises(DBAPIError, match="row-level security"):
        async with ours.write(Scope(ulid(1), ulid(11))) as session:
            await session.change(insert(api_keys).values(**_key(21, 2, 99)))
    async with ours.read() as session:
        assert await session.scalar(select(func.count()).select_from(api_keys)) == 3


async def test_the_scope_of_one_transaction_is_gone_in_the_next(ours: Database) -> None:
    for _ in range(20):
        async with ours.read(Scope(ulid(2))) as session:
            assert await session.scalar(select(func.count()).select_from(api_keys)) == 1
        async with ours.read() as session:
            assert await session.scalar(select(func.count()).select_from(api_keys)) == 3


async def test_every_table_of_tenants_has_the_wall(ours: Database) -> None:
    """A table with an organization is walled, or is read before it is known who asks."""
    before_anybody_is_known = {"events"}
    tenants = {table.name for table in metadata.sorted_tables if "organization_id" in table.c}
    assert tenants - before_anybody_is_known == WALLED
    async with ours.read() as session:
        catalogue = table("pg_class", column("relname"), column("relrowsecurity"), column("relforcerowsecurity"))
        walled = select(catalogue.c.relname).where(and_(catalogue.c.relrowsecurity, catalogue.c.relforcerowsecurity))
        assert {row["relname"] for row in await session.all(walled)} == WALLED


# --- whom the wall does not bind ---


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Database]:
    database = Database(DatabaseSettings(url=url), Path())
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def test_an_ordinary_owner_is_bound_everywhere(ours: Database) -> None:
    assert await binding_of(ours) == Binding("tenant", superuser=False, bypasses=False, open_tables=())


@pytest.mark.usefixtures("ours")
async def test_a_superuser_is_bound_nowhere(postgres: Postgres) -> None:
    async with connected(postgres.url("walled")) as database:
        assert await binding_of(database) == Binding(
            "polyforge", superuser=True, bypasses=True, open_tables=tuple(sorted(WALLED))
        )


async def test_who_may_bypass_the_wall_and_tables_that_do_not_force_it_are_found(
    ours: Database, postgres: Postgres
) -> None:
    postgres.execute("ALTER TABLE groups NO FORCE ROW LEVEL SECURITY", "walled")
    assert await binding_of(ours) == Binding("tenant", superuser=False, bypasses=False, open_tables=("groups",))
    postgres.execute("ALTER ROLE tenant BYPASSRLS")
    binding = await binding_of(ours)
    assert binding is not None
    assert (binding.superuser, binding.bypasses) == (False, True)


async def test_a_database_without_our_tables_is_asked_as_well(postgres: Postgres) -> None:
    async with connected(postgres.url("postgres")) as database:
        assert await binding_of(database) == Binding("polyforge", superuser=True, bypasses=True, open_tables=())
