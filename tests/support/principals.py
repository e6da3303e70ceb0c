"""Rows of people as tests need them, written past the services that usually make them."""

from typing import Any

from sqlalchemy import insert

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.people.records import User, hash_of, new_token
from polyforge.tenancy.people.tables import memberships, service_accounts, users


async def install_default(database: Database, clock: Clock) -> None:
    """The organization and the project that every installation has."""
    await install(database, AdminKey(new_secret(), created=False), clock)


async def add_user(
    database: Database, now: float, email: str = "ada@example.org", role: str | None = "developer", **values: Any
) -> User:
    """A user, with a role in the default organization unless that is None."""
    row: dict[str, Any] = {
        "id": new_ulid(),
        "email": email,
        "name": "Ada",
        "password": None,
        "verified_at": now,
        "totp": None,
        "totp_step": 0,
        "recovery": [],
        "operator": False,
        "created_at": now,
        "disabled_at": None,
        **values,
    }
    async with database.write() as session:
        await session.change(insert(users).values(row))
        if role is not None:
            await session.change(insert(memberships).values(membership(row["id"], role, now)))
    return User(**row)


def membership(principal_id: str, role: str, now: float, kind: str = "user") -> dict[str, Any]:
    """A row that gives somebody a role in the whole default organization."""
    return {
        "id": new_ulid(),
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": None,
        "kind": kind,
        "principal_id": principal_id,
        "role": role,
        "created_at": now,
    }


async def add_service_account(database: Database, now: float, role: str = "developer") -> tuple[str, str]:
    """The id and the secret of a service account of the default project."""
    account_id, secret = new_ulid(), new_token()
    row = {
        "id": account_id,
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": DEFAULT_PROJECT_ID,
        "name": "robot",
        "role": role,
        "hash": hash_of(secret),
        "created_at": now,
        "disabled_at": None,
    }
    async with database.write() as session:
        await session.change(insert(service_accounts).values(row))
    return account_id, secret
