"""The management API with people in it, behind the server's own middleware, and visitors with browsers of their own."""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.hidden import Hidden
from polyforge.server.app import Application
from polyforge.server.authentication import Authentication
from polyforge.server.browser import Browser
from polyforge.server.console.site import Console
from polyforge.server.management import build_management
from polyforge.tenancy import api as tenancy_api
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.organizations import api as organizations_api
from polyforge.tenancy.people import api as people_api
from polyforge.tenancy.people.arriving import api as arriving_api
from polyforge.tenancy.people.attempts import Attempts
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.passwords import Argon2Profile
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.usage import api as usage_api
from polyforge.tenancy.usage.service import UsageService
from polyforge.wiring.people import PeoplePlatform
from polyforge.wiring.settings import Settings
from polyforge.wiring.usage import make_writer
from tests.support.recording import MASTER, recorder

CHEAP = Argon2Profile(passes=1, memory_kib=8, lanes=1)
SITE = "https://forge.example"
HOST = "http://forge.test"
PASSWORD = "a quiet river bends twice"
OTHER_PASSWORD = "seven kettles under moonlight"
NO_HEADERS: Mapping[str, str | bytes] = {}
LINK = re.compile(r"#token=([A-Za-z0-9_-]{43})")


class NoSecrets:
    """A source of secrets for what asks for none."""

    def value(self, name: str) -> Hidden:
        raise AssertionError(name)

    def watch(self, name: str, changed: Any) -> Any:
        raise AssertionError(name)


class Visitor:
    """Somebody with a browser: it keeps cookies, and says where its pages come from."""

    def __init__(self, app: Any, address: str = "192.0.2.1") -> None:
        transport = httpx.ASGITransport(app, client=(address, 4_000))
        self.client = httpx.AsyncClient(transport=transport, base_url=HOST)
        self.csrf = ""

    async def __call__(self, method: str, path: str, status: int, body: object = None, **headers: str) -> Any:
        """The answer to a request of our own page, which must have this status."""
        answer = await self.raw(method, path, body, {"origin": HOST, "x-polyforge-csrf": self.csrf, **headers})
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def raw(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str | bytes] = NO_HEADERS
    ) -> Any:
        """The whole answer to a request with these headers only."""
        content = None if body is None else json.dumps(body).encode()
        sent = [
            (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers.items()
        ]
        return await self.client.request(method, f"/api/v1{path}", headers=sent, content=content)

    async def sign_in(self, email: str, password: str = PASSWORD) -> "Visitor":
        """The same visitor, signed in."""
        await self("POST", "/auth/sign-in", 200, {"email": email, "password": password})
        return await self.arrived()

    async def arrived(self) -> "Visitor":
        """The same visitor, who now knows what to send with changes."""
        self.csrf = (await self("GET", "/me", 200))["csrf"]
        return self

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get("polyforge_session")


class House:
    """One worker's management API on a database; several may share one."""

    def __init__(self, database: Database, clock: FakeClock, data: Path, admin: AdminKey, **server: Any) -> None:
        self.database = database
        self.clock = clock
        self.data = data
        self.admin_key = admin
        self._given = {**server}
        settings = Settings.model_validate({"data": data, "server": server})
        self.people = PeoplePlatform(
            settings,
            database,
            clock,
            MASTER,
            recorder(clock),
            Principals(database),
            Attempts(database, clock),
            SITE,
            CHEAP,
        )
        self.keys = KeyCache(database, clock, given=admin.secret.hash)
        self.app = self._application(settings)
        self._visitors: list[Visitor] = []

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator["House"]:
        await self.people.open(NoSecrets())
        yield self
        for visitor in self._visitors:
            await visitor.client.aclose()
        await self.people.close()

    def visitor(self, address: str = "192.0.2.1") -> Visitor:
        """A new browser."""
        made = Visitor(self.app, address)
        self._visitors.append(made)
        return made

    async def admin(self, method: str, path: str, status: int, body: object = None) -> Any:
        """The answer to a request with the admin key."""
        return await self.with_key(self.admin_key.secret.value, method, path, status, body)

    async def with_key(self, key: str, method: str, path: str, status: int, body: object = None) -> Any:
        """The answer to a request with a key."""
        await self.keys.sync()
        answer = await self.visitor().raw(method, path, body, {"authorization": f"Bearer {key}"})
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def user(self, email: str, role: str | None = None, **more: Any) -> dict[str, Any]:
        """A new user, made with the admin key."""
        body = {"email": email, "name": "some one", "password": PASSWORD, "role": role, **more}
        return await self.admin("POST", "/users", 201, body)

    async def letter(self, email: str) -> str | None:
        """The token in the latest message to an address."""
        await self.people.post.settled()
        for path in sorted((self.data / "outbox").glob("*.eml"), reverse=True):
            text = path.read_text()
            if f"To: {email}\n" in text:
                found = LINK.search(text)
                assert found is not None
                return found[1]
        return None

    def _application(self, settings: Settings) -> Any:
        people = self.people
        management = build_management(
            [
                tenancy_api.router(KeyService(self.database, self.clock, recorder(self.clock))),
                usage_api.router(UsageService(self.database, self.clock), make_writer),
                arriving_api.router(people.arrivals, people.sign_on, people.post, people.cookie),
                people_api.ways_in(people.sign_in, people.links, people.cookie),
                people_api.own_account(people.account, people.sessions, people.links, people.cookie, people.csrf),
                people_api.users_router(people.users),
                organizations_api.organizations_router(people.organizations),
                organizations_api.members_router(people.members, people.groups, people.roles),
                organizations_api.invitations_router(people.invitations),
                organizations_api.service_accounts_router(people.service_accounts),
            ]
        )
        behind_proxy = settings.server.behind_proxy
        browser = Browser(people.sessions, people.cookie, people.csrf, site=SITE, tls=False, behind_proxy=behind_proxy)
        no_tokens: Any = None
        authentication = Authentication(self.keys, no_tokens, browser, behind_proxy=behind_proxy)
        rest: Any = SimpleNamespace(endpoints={}, answers={}, managed=lambda *_: None, answer=lambda *_: b"{}")
        console = Console(self.data / "no-console")
        return Application(
            rest, rest, rest, management, authentication, rest, rest, rest, rest, console, rest, rest, rest, rest
        )


@asynccontextmanager
async def house(database: Database, clock: FakeClock, data: Path, **server: Any) -> AsyncGenerator[House]:
    """A house with the admin key in it and nobody else."""
    admin = AdminKey(new_secret(), created=False)
    await install(database, admin, clock)
    async with House(database, clock, data, admin, **server).opened() as made:
        yield made
