"""No organization loses its last owner: nobody could look after it any more."""

from collections.abc import Sequence

from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.organizations.store import is_owned, lock_organizations


async def owned_of(session: WriteSession, organization_ids: Sequence[str]) -> list[str]:
    """Those of the organizations that have an owner now; nobody else changes that before the transaction ends."""
    await lock_organizations(session, organization_ids)
    return [each for each in organization_ids if await is_owned(session, each)]


async def require_owned(session: WriteSession, organization_ids: Sequence[str]) -> None:
    """Conflict unless each of the organizations still has an owner; call it after the change."""
    for each in organization_ids:
        if not await is_owned(session, each):
            raise Conflict("this would leave an organization without an owner; make somebody else an owner first")
