"""Service accounts: programs that act in one project in their own name, with a client id and a secret."""

from typing import Any, Final

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.organizations.granting import granting_of
from polyforge.tenancy.organizations.records import ServiceAccount
from polyforge.tenancy.organizations.store import SERVICE_ACCOUNTS, EditableRows, OrganizationEditor, Rows
from polyforge.tenancy.organizations.telling import differs, record
from polyforge.tenancy.people.paging import check_cursor, page_of
from polyforge.tenancy.people.records import hash_of, new_token

MAX_SERVICE_ACCOUNTS: Final = 1_000
SECRET_MARK: Final = "pfs-"  # noqa: S105  # not a secret: what secrets begin with


class ServiceAccountService:
    """Makes, changes and ends service accounts of the caller's project, none of which may do more than the caller."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def create(self, caller: Caller, name: str, role: str) -> tuple[ServiceAccount, str]:
        """A new account and its secret, which cannot be had again."""
        secret = _new_secret()
        values = {
            "id": new_ulid(),
            "name": name,
            "role": role,
            "hash": hash_of(secret),
            "created_at": self._clock.now(),
            "disabled_at": None,
        }
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, Scope(caller.organization_id))
            await editor.lock()
            (await granting_of(editor, caller)).require_role(role, caller.project_id)
            rows = EditableRows(session, _scope(caller), SERVICE_ACCOUNTS)
            if await rows.reaches(MAX_SERVICE_ACCOUNTS):
                raise Conflict(f"the project has {MAX_SERVICE_ACCOUNTS} service accounts already, which is the most")
            made = await rows.add(values)
            await record(self._recorder, session, caller, "service_account.created", _subject(made), None, made)
        return made, secret

    async def get(self, caller: Caller, account_id: str) -> ServiceAccount:
        """One account of the caller's project."""
        async with self._database.read(_scope(caller)) as session:
            return await Rows(session, _scope(caller), SERVICE_ACCOUNTS).get(account_id)

    async def page(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[ServiceAccount], str | None]:
        """The project's accounts, newest first."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            found = await Rows(session, _scope(caller), SERVICE_ACCOUNTS).page(limit + 1, cursor)
        return page_of(found, limit)

    async def change(self, caller: Caller, account_id: str, values: dict[str, Any]) -> ServiceAccount:
        """The account with another name or role."""
        return await self._edit(caller, account_id, "service_account.changed", values)

    async def rotate(self, caller: Caller, account_id: str) -> tuple[ServiceAccount, str]:
        """The account with a new secret; the old one no longer works."""
        secret = _new_secret()
        changed = await self._edit(caller, account_id, "service_account.rotated", {"hash": hash_of(secret)})
        return changed, secret

    async def disable(self, caller: Caller, account_id: str) -> ServiceAccount:
        """Stop the account from acting; one that is disabled stays as it is."""
        return await self._edit(
            caller, account_id, "service_account.disabled", {"disabled_at": self._clock.now()}, only_if_enabled=True
        )

    async def enable(self, caller: Caller, account_id: str) -> ServiceAccount:
        """Let the account act again."""
        return await self._edit(caller, account_id, "service_account.enabled", {"disabled_at": None})

    async def _edit(
        self, caller: Caller, account_id: str, action: str, values: dict[str, Any], *, only_if_enabled: bool = False
    ) -> ServiceAccount:
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, Scope(caller.organization_id))
            await editor.lock()
            rows = EditableRows(session, _scope(caller), SERVICE_ACCOUNTS)
            before = await rows.get(account_id)
            granting = await granting_of(editor, caller)
            granting.require_held(before.role, before.project_id)
            if "role" in values:
                granting.require_role(values["role"], before.project_id)
            if not differs(before, values) or (only_if_enabled and before.disabled_at is not None):
                return before
            after = await rows.change(account_id, values)
            await record(self._recorder, session, caller, action, _subject(after), before, after)
        return after


def _new_secret() -> str:
    return SECRET_MARK + new_token()


def _subject(account: ServiceAccount) -> Subject:
    return Subject("service_account", account.id, account.organization_id, account.project_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)
