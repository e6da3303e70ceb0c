"""People and organizations of a gateway worker, built from the settings."""

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.organizations.groups import GroupService
from polyforge.tenancy.organizations.invitations import InvitationService
from polyforge.tenancy.organizations.members import MembershipService
from polyforge.tenancy.organizations.roles import RoleService
from polyforge.tenancy.organizations.service import OrganizationService
from polyforge.tenancy.organizations.service_accounts import ServiceAccountService
from polyforge.tenancy.people.account import AccountService
from polyforge.tenancy.people.arriving.service import ArrivalService
from polyforge.tenancy.people.attempts import Attempts
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.cookies import CsrfKey, SessionCookie
from polyforge.tenancy.people.credentials import CredentialTools
from polyforge.tenancy.people.links import LinkService
from polyforge.tenancy.people.passwords import RFC_9106_LOW_MEMORY, Argon2Profile, Passwords
from polyforge.tenancy.people.post import Post
from polyforge.tenancy.people.sessions import Sessions
from polyforge.tenancy.people.sign_in import SignInService
from polyforge.tenancy.people.sign_on.accounts import SignOnAccounts
from polyforge.tenancy.people.sign_on.provider import Provider
from polyforge.tenancy.people.sign_on.service import SignOnCookie, SignOnService, callback_of
from polyforge.tenancy.people.users import UserService
from polyforge.wiring import adapters
from polyforge.wiring.settings import Settings


class PeoplePlatform:
    """Everything of people. `site` is where they reach us."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        master: MasterKeys,
        recorder: Recorder,
        principals: Principals,
        attempts: Attempts,
        site: str,
        profile: Argon2Profile = RFC_9106_LOW_MEMORY,
    ) -> None:
        adapter, adapter_settings = adapters.find("notifiers", "people.notifier", settings.people.notifier)
        self.post = Post(adapter(adapter_settings, settings.data))
        self.passwords = Passwords(profile)
        secure = settings.server.tls is not None or settings.server.behind_proxy
        self.cookie = SessionCookie(secure=secure)
        self.sign_on_cookie = SignOnCookie(secure=secure)
        self.csrf = CsrfKey(master)
        self.sessions = Sessions(database, clock, principals, recorder)
        tools = CredentialTools(database, clock, recorder, self.sessions, attempts, self.passwords)
        self.sign_in = SignInService(tools, master)
        accounts = SignOnAccounts(database, clock, recorder)
        self.sign_on = SignOnService(
            database, clock, _providers(settings, clock, site), accounts, self.sessions, attempts
        )
        self.account = AccountService(database, clock, recorder, self.sign_in, self.passwords, master)
        self.links = LinkService(tools, self.post, site)
        self.users = UserService(database, clock, recorder, self.passwords, self.links)
        self.arrivals = ArrivalService(tools, self.users)
        self.organizations = OrganizationService(database, clock, recorder, principals)
        self.roles = RoleService(database, clock, recorder)
        self.groups = GroupService(database, clock, recorder)
        self.members = MembershipService(database, clock, recorder)
        self.service_accounts = ServiceAccountService(database, clock, recorder)
        self.invitations = InvitationService(database, clock, recorder, self.passwords, self.post, site)

    async def open(self, secrets: SecretSource) -> None:
        """Begin to send messages."""
        await self.post.open(secrets)
        await self.sign_on.open(secrets)

    async def close(self) -> None:
        """Stop sending, and hash no more."""
        await self.sign_on.close()
        await self.post.close()
        self.passwords.close()


def _providers(settings: Settings, clock: Clock, site: str) -> dict[str, Provider]:
    declared = settings.people.identity_providers
    return {name: Provider(name, chosen, callback_of(site, name), clock) for name, chosen in declared.items()}
