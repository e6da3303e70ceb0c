"""Who asked for something that is done later, as they stand when it is done: nothing acts for a revoked key."""

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Denied, NotFound, Unauthenticated
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.keys import NOBODYS, caller_of
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.store import SystemStore


class Standing:
    """Looks callers up again. Nothing is kept: every answer is as true as the database."""

    def __init__(self, database: Database, clock: Clock, principals: Principals) -> None:
        self._database = database
        self._clock = clock
        self._principals = principals

    async def confirmed(self, then: Caller) -> Caller:
        """The caller as it is now, with no permission that it did not have then; Denied once it may not act any more.

        `then` comes from what we kept ourselves, such as a job: nobody proves here who they are.
        """
        if then.kind == "system":
            return then
        now = await self._key(then) if then.kind == "key" else await self._principal(then)
        if (now.organization_id, now.project_id) != (then.organization_id, then.project_id):
            raise Denied(f"{then.key_name!r} no longer belongs to this project")
        return msgspec.structs.replace(now, scopes=_both(then.scopes, now.scopes), origin=then.origin)

    async def _key(self, then: Caller) -> Caller:
        async with self._database.read() as session:
            store = SystemStore(session)
            key = await store.by_id(then.key_id)
            owners = {} if key is None else await store.owners_of([key])
        if key is None or key.revoked_at is not None:
            raise Denied(f"the key {then.key_name!r} was revoked; ask again with another one")
        if key.expires_at is not None and key.expires_at <= self._clock.now():
            raise Denied(f"the key {then.key_name!r} has expired; ask again with another one")
        return caller_of(key, owners.get(key.id, NOBODYS))

    async def _principal(self, then: Caller) -> Caller:
        try:
            if then.kind == "user":
                return await self._principals.of_user(then.key_id, then.project_id)
            return await self._principals.of_service(then.key_id)
        except (NotFound, Unauthenticated) as error:
            raise Denied(f"{then.key_name!r} may not act in this project any more: {error.message}") from error


def _both(then: frozenset[str], now: frozenset[str]) -> frozenset[str]:
    if ALL in now:
        return then
    return now if ALL in then else then & now
