"""Invitations: a role in a place for whoever an e-mail address belongs to, by a link that works once."""

from functools import partial
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid, WrongCredentials
from polyforge.kernel.ids import new_ulid
from polyforge.ports.notifier import Notice
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.organizations.granting import granting_of
from polyforge.tenancy.organizations.records import Invitation, Organization
from polyforge.tenancy.organizations.service import membership_row
from polyforge.tenancy.organizations.store import (
    INVITATIONS,
    MEMBERSHIPS,
    PROJECTS,
    SERVICE_ACCOUNTS,
    OrganizationEditor,
    OrganizationStore,
    SystemOrganizationEditor,
    SystemOrganizationStore,
)
from polyforge.tenancy.organizations.telling import record
from polyforge.tenancy.people.letters import invitation as invitation_letter
from polyforge.tenancy.people.paging import check_cursor, page_of
from polyforge.tenancy.people.passwords import Passwords
from polyforge.tenancy.people.post import Post
from polyforge.tenancy.people.records import NOBODY, User, hash_of, is_token, new_token
from polyforge.tenancy.people.store import SystemUserEditor, SystemUserStore
from polyforge.tenancy.people.tables import invitations, memberships, service_accounts
from polyforge.tenancy.policy import permissions_of
from polyforge.tenancy.store import SystemStore

INVITATION_SECONDS: Final = 7 * 86_400.0
MAX_WAITING: Final = 1_000
"""Of one organization."""


class ShownInvitation(msgspec.Struct, frozen=True):
    """An invitation with what is needed to accept it."""

    invitation: Invitation
    organization: str
    project: str | None
    account_needed: bool
    """Whether nobody has an account with its address yet."""


class InvitationService:
    """Invites people, and takes their acceptance.

    The link goes to the invited address and nowhere else, not even to who invites: following it is what proves that the
    address is theirs. It dies with the right of who invited: with their membership, their account or their key.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        recorder: Recorder,
        passwords: Passwords,
        post: Post,
        site: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._passwords = passwords
        self._post = post
        self._site = site

    async def create(self, caller: Caller, email: str, role: str, project_id: str | None) -> Invitation:
        """Invite somebody to a role that the caller could give; Unavailable when too many messages wait."""
        token = new_token()
        with self._post.room() as add:
            made, organization = await self._create(caller, token, email, role, project_id)
            add(partial(_ready, invitation_letter(email, self._site, token, organization.name, role)))
        return made

    async def _create(
        self, caller: Caller, token: str, email: str, role: str, project_id: str | None
    ) -> tuple[Invitation, Organization]:
        now = self._clock.now()
        values = {
            "id": new_ulid(),
            "project_id": project_id,
            "email": email,
            "role": role,
            "hash": hash_of(token),
            "invited_by": caller.key_id,
            "created_at": now,
            "expires_at": now + INVITATION_SECONDS,
        }
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            if project_id is not None:
                await editor.rows(PROJECTS).get(project_id)
            (await granting_of(editor, caller)).require_role(role, project_id)
            columns = invitations.c
            waiting = columns.accepted_at.is_(None) & columns.revoked_at.is_(None) & (columns.expires_at > now)
            if await editor.rows(INVITATIONS).reaches(MAX_WAITING, waiting):
                raise Conflict(f"{MAX_WAITING} invitations wait already, which is the most")
            organization = await editor.organization()
            made = await editor.edit(INVITATIONS).add(values)
            await record(self._recorder, session, caller, "invitation.created", _subject(made), None, made)
        return made, organization

    async def page(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[Invitation], str | None]:
        """The organization's invitations, newest first."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            found = await OrganizationStore(session, _scope(caller)).rows(INVITATIONS).page(limit + 1, cursor)
        return page_of(found, limit)

    async def revoke(self, caller: Caller, invitation_id: str) -> None:
        """Take an invitation back; Conflict when it has been accepted."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.rows(INVITATIONS).get(invitation_id)
            if before.accepted_at is not None:
                raise Conflict("it has been accepted; take the membership away instead")
            if before.revoked_at is None:
                after = await editor.edit(INVITATIONS).change(invitation_id, {"revoked_at": self._clock.now()})
                await record(self._recorder, session, caller, "invitation.revoked", _subject(after), before, after)

    async def show(self, token: str) -> ShownInvitation:
        """An invitation to whoever has its link, which only the invited have; WrongCredentials as in `accept`."""
        async with self._database.read() as session:
            invitation = await self._open(session, token)
            user = await SystemUserStore(session).by_email(invitation.email)
            scope = Scope(invitation.organization_id)
            store = OrganizationStore(session, scope)
            organization, project_id = await store.organization(), invitation.project_id
            project = None if project_id is None else await store.rows(PROJECTS).get(project_id)
        if user is not None and user.disabled_at is not None:
            raise _dead()
        return ShownInvitation(invitation, organization.name, project.name if project else None, user is None)

    async def accept(self, origin: Origin, token: str, name: str | None, password: str | None) -> None:
        """Give the role to the user of the invited address, whose account is made when there is none.

        WrongCredentials for a link that is wrong, used, too old, revoked, or whose sender may no longer invite; Invalid
        when there is no account yet and name or password are missing; Conflict for who has a role there already.
        """
        async with self._database.read() as reading:
            invitation = await self._open(reading, token)
            user = await SystemUserStore(reading).by_email(invitation.email)
        if user is not None and user.disabled_at is not None:
            raise _dead()
        row = None if user is not None else await self._account(invitation, name, password)
        async with self._database.write() as session:
            await self._accept(session, origin, invitation, user, row)

    async def _open(self, session: ReadSession, token: str) -> Invitation:
        found = None
        if is_token(token):
            found = await SystemOrganizationStore(session).invitation(hash_of(token), self._clock.now())
        if found is None or not await self._may_still_invite(session, found):
            raise _dead()
        return found

    async def _account(self, invitation: Invitation, name: str | None, password: str | None) -> dict[str, object]:
        if name is None or password is None:
            raise Invalid("choose a name and a password for your new account", param="password" if name else "name")
        now = self._clock.now()
        return {
            "id": new_ulid(),
            "email": invitation.email,
            "name": name,
            "password": await self._passwords.hash(password, invitation.email, name),
            "verified_at": now,
            "operator": False,
            "created_at": now,
        }

    async def _accept(
        self,
        session: WriteSession,
        origin: Origin,
        invitation: Invitation,
        user: User | None,
        row: dict[str, object] | None,
    ) -> None:
        scope = Scope(invitation.organization_id)
        editor, people = OrganizationEditor(session, scope), SystemUserEditor(session)
        await editor.lock()
        if not await SystemOrganizationEditor(session).accept(invitation.hash, self._clock.now()):
            raise _dead()
        if row is not None and not await people.add(row):
            raise Conflict("the account has just been made; accept the invitation again")
        user_id = user.id if user is not None else str((row or {})["id"])
        place = memberships.c.project_id
        same = place.is_(None) if invitation.project_id is None else place == invitation.project_id
        if await editor.rows(MEMBERSHIPS).find(memberships.c.principal_id == user_id, same) is not None:
            raise Conflict("you have a role there already; ask for that one to be changed")
        given = membership_row(user_id, "user", invitation.role, invitation.project_id, self._clock.now())
        membership = await editor.edit(MEMBERSHIPS).add(given)
        caller = _as_caller(user_id, invitation, origin)
        if row is not None:
            account = Subject("user", user_id, invitation.organization_id)
            told = {"email": row["email"], "name": row["name"]}
            await self._recorder.changed(session, caller, "people", "user.created", account, None, told)
        elif user is not None and user.verified_at is None:
            # The link was e-mailed, and nowhere else shown.
            await people.change(user_id, {"verified_at": self._clock.now()})
            account = Subject("user", user_id, invitation.organization_id)
            await self._recorder.changed(session, caller, "people", "user.verified", account)
        await record(self._recorder, session, caller, "invitation.accepted", _subject(invitation), None, membership)

    async def _may_still_invite(self, session: ReadSession, invitation: Invitation) -> bool:
        """Whether who invited could do so now: a user with the right, a key or a service account that works."""
        store = OrganizationStore(session, Scope(invitation.organization_id))
        user = await SystemUserStore(session).by_id(invitation.invited_by)
        if user is not None:
            custom = await store.permissions_by_role()
            held = await store.roles_everywhere(user.id)
            return user.disabled_at is None and any("members:write" in permissions_of(each, custom) for each in held)
        key = await SystemStore(session).by_id(invitation.invited_by)
        if key is not None:
            return key.revoked_at is None and (key.expires_at is None or key.expires_at > self._clock.now())
        account = await store.rows(SERVICE_ACCOUNTS).find(service_accounts.c.id == invitation.invited_by)
        return account is not None and account.disabled_at is None


async def _ready(notice: Notice) -> Notice:
    return notice


def _dead() -> WrongCredentials:
    return WrongCredentials("the invitation is wrong, used, taken back or too old; ask for another")


def _as_caller(user_id: str, invitation: Invitation, origin: Origin) -> Caller:
    return Caller(
        user_id,
        invitation.email,
        invitation.organization_id,
        invitation.project_id or NOBODY,
        frozenset(),
        kind="user",
        origin=origin,
    )


def _subject(invitation: Invitation) -> Subject:
    return Subject("invitation", invitation.id, invitation.organization_id, invitation.project_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
