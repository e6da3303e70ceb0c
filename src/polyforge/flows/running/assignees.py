"""As whom somebody may be asked to decide: as a user, as one of a group, in a role."""

from typing import Final

from sqlalchemy import or_, select

from polyforge.database.database import Database
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.people.store import holders_of
from polyforge.tenancy.people.tables import groups, memberships, users

ADMIN: Final = "members:write"
"""Who looks after members decides whatever is asked of others too."""
_MOST: Final = 1_000


class Assignees:
    """Looks people up, as they stand now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known_as(self, caller: Caller) -> frozenset[str]:
        """What a caller is called in lists of who may decide, ids and names alike; keys stand for who made them."""
        if caller.user_id is None:
            return frozenset()
        async with self._database.read() as session:
            user = await session.first(select(users.c.email).where(users.c.id == caller.user_id))
            named = select(groups.c.id, groups.c.name).where(
                groups.c.organization_id == caller.organization_id, groups.c.id.in_(caller.group_ids)
            )
            mine = memberships.c.principal_id.in_(holders_of(caller.user_id))
            here = or_(memberships.c.project_id.is_(None), memberships.c.project_id == caller.project_id)
            held = select(memberships.c.role).where(memberships.c.organization_id == caller.organization_id, mine, here)
            teams, roles = await session.all(named.limit(_MOST)), await session.all(held.limit(_MOST))
        found = {f"user:{caller.user_id}"}
        found |= set() if user is None else {f"user:{user['email']}"}
        found |= {f"group:{team[column]}" for team in teams for column in ("id", "name")}
        found |= {f"role:{role['role']}" for role in roles}
        return frozenset(found)


def decides_everything(caller: Caller) -> bool:
    """Whether somebody may decide what others were asked."""
    return ALL in caller.scopes or caller.may(ADMIN)
