"""From an identity that a provider vouches for to a user here: known, linked or made, and in the groups it says.

Groups that follow a provider are named after it, `provider/group`, so that what one provider says never moves anybody
in the groups of another.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import AddressNotAllowed, Conflict, Denied, NoAccount
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.sizes import NAME_LENGTH
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.organizations.owners import owned_of, require_owned
from polyforge.tenancy.organizations.records import Group
from polyforge.tenancy.organizations.store import GROUPS, MAX_GROUPS, MEMBERSHIPS, OrganizationEditor
from polyforge.tenancy.people.records import NOBODY, User
from polyforge.tenancy.people.schemas import Email
from polyforge.tenancy.people.sign_on.provider import Identity
from polyforge.tenancy.people.sign_on.settings import IdentityProviderSettings
from polyforge.tenancy.people.sign_on.store import SystemIdentityEditor
from polyforge.tenancy.people.store import SystemUserEditor
from polyforge.tenancy.people.tables import groups, memberships

_email: TypeAdapter[str] = TypeAdapter(Email)


class _Change(msgspec.Struct, frozen=True):
    action: str
    kind: str
    id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class SignOnAccounts:
    """Finds the user of an identity, and keeps their groups as the provider has them."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def admit(
        self, provider: str, settings: IdentityProviderSettings, identity: Identity, origin: Origin
    ) -> User:
        """The user that an identity is, made if need be; Denied when the settings keep them out.

        Conflict when following the provider's groups would leave the organization without an owner: they stay out, and
        nothing changes, until somebody else owns it.
        """
        email = _checked(settings, identity)
        scope = Scope(settings.organization)
        async with self._database.write() as session:
            organization = OrganizationEditor(session, scope)
            owned = await owned_of(session, [scope.organization_id])
            await organization.organization()
            admission = _Admission(session, settings, self._clock.now())
            user = await admission.user(identity, email)
            await admission.follow(organization, provider, identity, user)
            await require_owned(session, owned)
            caller = Caller(user.id, user.email, scope.organization_id, NOBODY, frozenset(), kind="user", origin=origin)
            for change in admission.changes:
                subject = Subject(change.kind, change.id, scope.organization_id)
                await self._recorder.changed(
                    session, caller, "people", change.action, subject, change.before, change.after
                )
        return user


class _Admission:
    """One sign-on in its transaction; `changes` are told when all is done."""

    def __init__(self, session: WriteSession, settings: IdentityProviderSettings, now: float) -> None:
        self._identities = SystemIdentityEditor(session)
        self._users = SystemUserEditor(session)
        self._settings = settings
        self._now = now
        self.changes: list[_Change] = []

    async def user(self, identity: Identity, email: str | None) -> User:
        known = await self._identities.user_of(identity.issuer, identity.subject)
        if known is not None:
            user = await self._users.by_id(known)
        elif email is None:
            raise AddressNotAllowed(
                "your identity provider has not verified your e-mail address, so you cannot be told apart"
            )
        else:
            user = await self._linked(identity, email)
        if user is None or user.disabled_at is not None:
            raise Denied("this account is disabled")
        return user

    async def _linked(self, identity: Identity, email: str) -> User | None:
        """The user with a verified address, from now on this identity.

        An account whose owner never showed that the address is theirs is not linked: whoever made it could still get
        in with its password. Nor is one that is somebody else at this provider: addresses are given to others.
        """
        user = await self._users.by_email(email)
        if user is not None and user.verified_at is None:
            raise Conflict("there is an account with your e-mail address that was never verified; ask an operator")
        if user is not None and await self._identities.is_linked(user.id, identity.issuer):
            raise Conflict("the account with your e-mail address belongs to somebody else at your identity provider")
        if user is None:
            user = await self._made(identity, email)
        await self._identities.add(identity.issuer, identity.subject, user.id, self._now)
        self._note("identity.linked", "user", user.id, None, {"issuer": identity.issuer, "email": email})
        return user

    async def _made(self, identity: Identity, email: str) -> User:
        if not self._settings.create_users:
            raise NoAccount("you have no account here; ask for an invitation")
        user = User(
            id=new_ulid(),
            email=email,
            name=_printable(identity.name) or email.partition("@")[0],
            password=None,
            verified_at=self._now,
            totp=None,
            totp_step=0,
            recovery=[],
            operator=False,
            created_at=self._now,
            disabled_at=None,
        )
        if not await self._users.add(msgspec.structs.asdict(user)):
            raise Conflict("an account with your e-mail address has just been made; sign in again")
        self._note("user.created", "user", user.id, None, {"email": email, "name": user.name})
        return user

    async def follow(self, organization: OrganizationEditor, provider: str, identity: Identity, user: User) -> None:
        """Put the user into the groups that the provider says, and out of its others."""
        if self._settings.groups_claim is None:
            return
        said = {f"{provider}/{name}": self._settings.roles.get(name) for name in identity.groups}
        for external, role in said.items():
            if role is not None:
                await self._ensure_role(organization, external, role)
        ours = groups.c.external.startswith(f"{provider}/", autoescape=True)
        for group in await organization.rows(GROUPS).page(MAX_GROUPS, None, ours):
            await self._move(organization, group, user, inside=group.external in said)

    async def _move(self, organization: OrganizationEditor, group: Group, user: User, *, inside: bool) -> None:
        if inside and await organization.join(group.id, user.id):
            self._note("group.joined", "group", group.id, None, {"user": user.id})
        if not inside and await organization.leave(group.id, user.id):
            self._note("group.left", "group", group.id, {"user": user.id}, None)

    async def _ensure_role(self, organization: OrganizationEditor, external: str, role: str) -> None:
        """A group that follows the provider's, with the role that the settings give it in the organization."""
        group = await organization.rows(GROUPS).find(groups.c.external == external)
        if group is None:
            if await organization.rows(GROUPS).find(groups.c.name == external) is not None:
                raise Conflict(f"the group {external!r} does not follow the identity provider; rename it")
            values = {"id": new_ulid(), "name": external, "external": external, "created_at": self._now}
            group = await organization.edit(GROUPS).add(values)
            self._note("group.created", "group", group.id, None, {"name": external})
        await self._ensure_membership(organization, group.id, role)

    async def _ensure_membership(self, organization: OrganizationEditor, group_id: str, role: str) -> None:
        columns = memberships.c
        held = await organization.rows(MEMBERSHIPS).find(
            columns.kind == "group", columns.principal_id == group_id, columns.project_id.is_(None)
        )
        if held is None:
            values = {"id": new_ulid(), "project_id": None, "kind": "group", "principal_id": group_id, "role": role}
            made = await organization.edit(MEMBERSHIPS).add({**values, "created_at": self._now})
            self._note("membership.created", "membership", made.id, None, {"group": group_id, "role": role})
        elif held.role != role:
            await organization.edit(MEMBERSHIPS).change(held.id, {"role": role})
            self._note("membership.changed", "membership", held.id, {"role": held.role}, {"role": role})

    def _note(
        self, action: str, kind: str, id_: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        self.changes.append(_Change(action, kind, id_, before, after))


def _checked(settings: IdentityProviderSettings, identity: Identity) -> str | None:
    """The identity's verified address in the form that accounts have; Denied when its domain may not sign in."""
    email: str | None = None
    if identity.email is not None:
        try:
            email = _email.validate_python(identity.email)
        except ValidationError as error:
            raise AddressNotAllowed("your e-mail address has characters that addresses here cannot have") from error
    if settings.allowed_domains and (email or "").rpartition("@")[2] not in settings.allowed_domains:
        raise AddressNotAllowed("only people with an e-mail address of this organization may sign in this way")
    return email


def _printable(name: str) -> str:
    return "".join(character for character in name if character.isprintable()).strip()[:NAME_LENGTH]
