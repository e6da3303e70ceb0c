"""Whether row-level security, the second wall between tenants, binds the role that we connect to PostgreSQL as.

It does not bind superusers and roles with BYPASSRLS, nor the owner of a table that does not force its policies
(https://www.postgresql.org/docs/current/ddl-rowsecurity.html).
"""

import msgspec
from sqlalchemy import Boolean, String, column, func, select, table

from polyforge.database.database import Database

_roles = table("pg_roles", column("rolname", String), column("rolsuper", Boolean), column("rolbypassrls", Boolean))
_tables = table("pg_class", column("oid"), column("relname", String))
_policies = table("pg_policy", column("polrelid"), column("polname", String))
_POLICY = "tenant"
"""What our migrations call the policy of each table that they wall off."""


class Binding(msgspec.Struct, frozen=True):
    """What row-level security is to a role."""

    role: str
    superuser: bool
    bypasses: bool
    """Whether it has BYPASSRLS."""
    open_tables: tuple[str, ...]
    """Tables with a policy that does not apply to it, by name."""


async def binding_of(database: Database) -> Binding | None:
    """How the role of `database` is bound, None on SQLite, which has no roles; Unavailable when it does not answer."""
    if database.dialect == "sqlite":
        return None
    walled = _tables.join(_policies, _tables.c.oid == _policies.c.polrelid)
    unbound = select(_tables.c.relname).distinct().select_from(walled).order_by(_tables.c.relname)
    unbound = unbound.where(_policies.c.polname == _POLICY, ~func.row_security_active(_tables.c.oid))
    async with database.read() as session:
        role = await session.first(select(_roles).where(_roles.c.rolname == func.current_user()))
        names = [row["relname"] for row in await session.all(unbound)]
    assert role is not None, "PostgreSQL lists every role"
    return Binding(role["rolname"], role["rolsuper"], role["rolbypassrls"], tuple(names))
