"""What must exist before the first request: an organization, a project and the admin key."""

import os
from pathlib import Path

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import SettingsError
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.references import SecretRef
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.keys import ADMIN_KEY_ID, ApiKey, Secret, check_admin_key, new_secret, secret_of
from polyforge.tenancy.store import SystemEditor, SystemStore

DEFAULT_ORGANIZATION_ID = "00000000000000000000000001"
DEFAULT_PROJECT_ID = "00000000000000000000000002"
"""Fixed, so that processes that start together agree without asking."""
DEFAULT_NAME = "default"
ADMIN_NAME = "admin"
ADMIN_FILE = "admin.key"


class AdminKey(msgspec.Struct, frozen=True):
    """The bootstrap admin key and where it came from."""

    secret: Secret
    created: bool
    """Whether it was made just now: then its owner has not seen it yet."""


def admin_key(given: SecretRef | None, data: Path) -> AdminKey:
    """The admin key that was given, else the one kept in the data folder, made there when missing.

    SettingsError when the key is too short or its file cannot be used. Several machines on one database must be given
    the same key: the latest to start decides.
    """
    if given is not None:
        return AdminKey(secret_of(check_admin_key(given.reveal())), created=False)
    path = data / ADMIN_FILE
    try:
        created = not path.exists() and _create(path, new_secret().value)
        return AdminKey(secret_of(check_admin_key(path.read_text().strip())), created=created)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"admin_key: cannot use {path}: {error}") from error


def _create(path: Path, value: str) -> bool:
    """Write the file whole or not at all; False when somebody else was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{new_ulid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{value}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


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
