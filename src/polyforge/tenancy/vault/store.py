"""All SQL of secrets.

`VaultStore` and `VaultEditor` are built for an organization. `SystemVault` is for what happens before or behind a
caller: resolving references, of which the caller's rights are checked elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, func, select

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.errors import NotFound
from polyforge.tenancy.tables import organizations, projects
from polyforge.tenancy.vault.records import StoredSecret
from polyforge.tenancy.vault.tables import secrets


class VaultStore:
    """The secrets of one organization."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._secrets = ScopedReader(session, scope, secrets)
        self._projects = ScopedReader(session, scope, projects)

    async def find(self, name: str) -> StoredSecret | None:
        """One secret, None when the organization has none of this name."""
        row = await self._secrets.first(refine=lambda query: query.where(secrets.c.name == name))
        return _secret_of(row) if row else None

    async def get(self, name: str) -> StoredSecret:
        """One secret; NotFound when the organization has none of this name."""
        found = await self.find(name)
        if found is None:
            raise NotFound(f"there is no secret {name!r}")
        return found

    async def page(self, limit: int, before: str | None) -> list[StoredSecret]:
        """Up to `limit` secrets, newest first, older than the id `before`."""

        def refine(query: Select[Any]) -> Select[Any]:
            if before is not None:
                query = query.where(secrets.c.id < before)
            return query.order_by(secrets.c.id.desc()).limit(limit)

        return [_secret_of(row) for row in await self._secrets.all(refine=refine)]

    async def count(self) -> int:
        """How many the organization has."""
        row = await self._secrets.first(func.count().label("count"))
        return row["count"] if row else 0

    async def known_projects(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of the ids that are projects of the organization."""
        column = projects.c.id
        rows = await self._projects.all(column, refine=lambda query: query.where(column.in_(ids)))
        return frozenset(row["id"] for row in rows)


class VaultEditor(VaultStore):
    """The same secrets, to be changed. Call `lock` first: changes of one organization go one after the other."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._session = session
        self._organization_id = scope.organization_id
        self._rows = ScopedWriter(session, scope, secrets)

    async def lock(self) -> None:
        """Wait until nobody else changes the organization's secrets, and keep it so until this transaction ends."""
        mine = select(organizations.c.id).where(organizations.c.id == self._organization_id)
        await self._session.first(mine.with_for_update(key_share=True))

    async def add(self, values: Mapping[str, Any]) -> StoredSecret:
        """A new secret."""
        await self._rows.insert(values)
        return await self.get(values["name"])

    async def change(self, name: str, values: Mapping[str, Any]) -> StoredSecret:
        """The secret after the change."""
        await self._rows.update(secrets.c.name == name, values)
        return await self.get(name)

    async def remove(self, name: str) -> None:
        """Take the secret away."""
        await self._rows.delete(secrets.c.name == name)


class SystemVault:
    """Secrets by organization and name, for those who use them."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def named(self, organization_id: str, names: Sequence[str]) -> list[StoredSecret]:
        """Those of the names that the organization has."""
        columns = secrets.c
        query = select(secrets).where(columns.organization_id == organization_id, columns.name.in_(names))
        return [_secret_of(row) for row in await self._session.all(query)]


def _secret_of(row: RowMapping) -> StoredSecret:
    values = dict(row)
    values["projects"] = None if row["projects"] is None else tuple(row["projects"])
    return StoredSecret(**values)
