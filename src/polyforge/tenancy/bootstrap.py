"""What must exist before the first request: an organization, a project and the admin key."""

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import SettingsError
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.defaults import DEFAULT_NAME, DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.keys import ADMIN_KEY_ID, ApiKey, Secret
from polyforge.tenancy.store import SystemEditor, SystemStore

ADMIN_NAME = "admin"


async def install(database: Database, admin: AdminKey, clock: Clock) -> None:
    """Make the organization, the project and the admin key known; the value of an earlier admin key stops working.

    Does nothing when all is as it should be, and may run in several processes at once.
    """
    async with database.read() as session:
        if _is_installed(await SystemStore(session).by_id(ADMIN_KEY_ID), admin):
            return
    async with database.write() as session:
        editor = SystemEditor(session)
        await editor.lock()
        known = await editor.by_id(ADMIN_KEY_ID)
        if _is_installed(known, admin):
            return
        await _refuse_issued(editor, admin)
        await editor.ensure_project(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, DEFAULT_NAME, clock.now())
        await editor.put(ADMIN_KEY_ID, _admin_row(admin.secret, clock.now()))


def _is_installed(known: ApiKey | None, admin: AdminKey) -> bool:
    return known is not None and known.hash == admin.secret.hash


async def _refuse_issued(editor: SystemEditor, admin: AdminKey) -> None:
    holder = await editor.by_hash(admin.secret.hash)
    if holder is not None and holder.id != ADMIN_KEY_ID:
        raise SettingsError(f"admin_key: it is the secret of the key {holder.name!r} already; choose another")


def _admin_row(secret: Secret, now: float) -> dict[str, object]:
    return {
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": DEFAULT_PROJECT_ID,
        "name": ADMIN_NAME,
        "prefix": secret.prefix,
        "hash": secret.hash,
        "previous_hash": None,
        "previous_until": None,
        "scopes": [ALL],
        "budget_period": "total",
        "created_at": now,
        "revoked_at": None,
    }
