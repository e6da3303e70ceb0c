"""All SQL of tenancy.

`KeyStore` and `KeyEditor` are built for a scope and see nothing else. `SystemStore` and `SystemEditor` are for what
happens before a caller is known: looking a key up, following changes, starting.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, func, insert, or_, select, update

from polyforge.database.counting import generations, take_number
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.errors import NotFound
from polyforge.tenancy.keys import ApiKey, Owner, WhichKeys
from polyforge.tenancy.people.tables import group_members, users
from polyforge.tenancy.tables import api_keys, organizations, projects

_KEYS = "keys"
"""The name of the generation that rises with every change of a key."""


class KeyStore:
    """The keys of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._keys = ScopedReader(session, scope, api_keys)

    async def get(self, key_id: str) -> ApiKey:
        """One key; NotFound when it does not exist or belongs to another project."""
        row = await self._keys.first(refine=lambda query: query.where(api_keys.c.id == key_id))
        if row is None:
            raise NotFound(f"there is no key {key_id!r}")
        return _key_of(row)

    async def page(self, which: WhichKeys, limit: int, after: str | None) -> list[ApiKey]:
        """Up to `limit` of those that are asked for, in the order of their ids, after the id `after`."""
        columns = api_keys.c

        def refine(query: Select[Any]) -> Select[Any]:
            if after is not None:
                query = query.where(columns.id > after if which.oldest_first else columns.id < after)
            if not which.include_revoked:
                query = query.where(columns.revoked_at.is_(None))
            if which.created_by is not None:
                query = query.where(columns.created_by == which.created_by)
            if which.search:
                query = query.where(_holds(columns.name, which.search))
            return query.order_by(columns.id if which.oldest_first else columns.id.desc()).limit(limit)

        return [_key_of(row) for row in await self._keys.all(refine=refine)]

    async def expiring(self, since: float, until: float, limit: int) -> list[ApiKey]:
        """Up to `limit` keys that stop working between two moments, the first ones first."""
        columns = api_keys.c

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(columns.expires_at > since, columns.expires_at <= until, columns.revoked_at.is_(None))
            return query.order_by(columns.expires_at, columns.id).limit(limit)

        return [_key_of(row) for row in await self._keys.all(refine=refine)]

    async def names(self, key_ids: Sequence[str]) -> dict[str, str]:
        """Names by id, of those keys that belong to the project."""
        columns = api_keys.c
        rows = await self._keys.all(columns.id, columns.name, refine=lambda query: query.where(columns.id.in_(key_ids)))
        return {row["id"]: row["name"] for row in rows}


class KeyEditor(KeyStore):
    """The same keys, to be changed. Every change takes the next generation, which is the row's new version."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._rows = ScopedWriter(session, scope, api_keys)
        self._next_version = partial(take_number, session, _KEYS)

    async def locked(self, key_id: str) -> ApiKey:
        """One key, which nobody else changes before this transaction ends."""
        await self._next_version()
        return await self.get(key_id)

    async def add(self, values: Mapping[str, Any]) -> ApiKey:
        """A new key."""
        await self._rows.insert({**values, "version": await self._next_version()})
        return await self.get(values["id"])

    async def change(self, key_id: str, values: Mapping[str, Any]) -> ApiKey:
        """The key after the change."""
        await self._rows.update(api_keys.c.id == key_id, {**values, "version": await self._next_version()})
        return await self.get(key_id)


class SystemStore:
    """Keys across all projects, for looking a caller up and for following changes; never for answering one."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def generation(self) -> int:
        """The version of the latest change of any key: changes up to it are committed and visible."""
        return await self._session.scalar(select(generations.c.value).where(generations.c.name == _KEYS)) or 0

    async def by_hash(self, hash_: bytes) -> ApiKey | None:
        """The key with this hash, now or before its last rotation."""
        matches = or_(api_keys.c.hash == hash_, api_keys.c.previous_hash == hash_)
        row = await self._session.first(select(api_keys).where(matches))
        return _key_of(row) if row else None

    async def changed_since(self, version: int, limit: int) -> list[ApiKey]:
        """Keys with a later version, in the order of their changes."""
        query = select(api_keys).where(api_keys.c.version > version).order_by(api_keys.c.version).limit(limit)
        return [_key_of(row) for row in await self._session.all(query)]

    async def latest_usable(self, now: float, before_version: int | None, limit: int) -> list[ApiKey]:
        """Keys that are neither revoked nor expired, latest change first, changed before `before_version`."""
        columns = api_keys.c
        query = select(api_keys).where(*_usable(now))
        if before_version is not None:
            query = query.where(columns.version < before_version)
        return [_key_of(row) for row in await self._session.all(query.order_by(columns.version.desc()).limit(limit))]

    async def usable_by_project(self, created_by: str, now: float) -> dict[str, int]:
        """In which projects somebody has made keys that work now, and how many, by the project's id."""
        columns = api_keys.c
        query = select(columns.project_id, func.count().label("keys")).where(columns.created_by == created_by)
        query = query.where(*_usable(now)).group_by(columns.project_id).order_by(columns.project_id)
        return {row["project_id"]: row["keys"] for row in await self._session.all(query)}

    async def by_id(self, key_id: str) -> ApiKey | None:
        """The key with this id, in whichever project."""
        row = await self._session.first(select(api_keys).where(api_keys.c.id == key_id))
        return _key_of(row) if row else None

    async def owners_of(self, keys: Sequence[ApiKey]) -> dict[str, Owner]:
        """Whom keys belong to, by the key's id; those that no user made are left out."""
        makers = sorted({key.created_by for key in keys if key.created_by is not None})
        known = await self.groups_of(makers) if makers else {}
        return {
            key.id: Owner(key.created_by, known[key.created_by].get(key.organization_id, ()))
            for key in keys
            if key.created_by in known
        }

    async def groups_of(self, user_ids: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        """The groups of users, sorted, by user and organization; whoever is no user is left out."""
        columns = group_members.c
        query = select(users.c.id, columns.organization_id, columns.group_id)
        query = query.outerjoin(group_members, columns.user_id == users.c.id).where(users.c.id.in_(user_ids))
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for row in await self._session.all(query.order_by(columns.group_id)):
            groups = found.setdefault(row["id"], {})
            if row["group_id"] is not None:
                groups[row["organization_id"]] = (*groups.get(row["organization_id"], ()), row["group_id"])
        return found


class SystemEditor(SystemStore):
    """What starting needs to write: the first organization and project, and the admin key."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session
        self._next_version = partial(take_number, session, _KEYS)

    async def lock(self) -> None:
        """Wait until nobody else changes keys, and keep it so until this transaction ends."""
        await self._next_version()

    async def ensure_project(self, organization_id: str, project_id: str, name: str, now: float) -> None:
        """The organization and the project, made if they do not exist. Needs the lock."""
        if await self._session.scalar(select(organizations.c.id).where(organizations.c.id == organization_id)) is None:
            row = {"id": organization_id, "name": name, "created_at": now}
            await self._writer.change(insert(organizations).values(row))
        if await self._session.scalar(select(projects.c.id).where(projects.c.id == project_id)) is None:
            row = {"id": project_id, "organization_id": organization_id, "name": name, "created_at": now}
            await self._writer.change(insert(projects).values(row))

    async def put(self, key_id: str, values: Mapping[str, Any]) -> None:
        """The key with this id, made or replaced. Needs the lock."""
        row = {**values, "version": await self._next_version()}
        if not await self._writer.change(update(api_keys).where(api_keys.c.id == key_id).values(row)):
            await self._writer.change(insert(api_keys).values({**row, "id": key_id}))


def _usable(now: float) -> list[ColumnElement[bool]]:
    columns = api_keys.c
    return [columns.revoked_at.is_(None), or_(columns.expires_at.is_(None), columns.expires_at > now)]


def _key_of(row: RowMapping) -> ApiKey:
    values = dict(row)
    values["scopes"] = tuple(row["scopes"])
    values["models"] = None if row["models"] is None else tuple(row["models"])
    return ApiKey(**values)


def _holds(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether a text holds another, in whatever case; not LIKE, which takes some characters for others."""
    lowered = func.lower(text)
    # SQLite makes only ASCII small.
    return or_(func.replace(text, part, "") != text, func.replace(lowered, part.lower(), "") != lowered)
