"""Random callers, routes and ids against the policy: what may not be is refused, and what is foreign is not there."""

import random
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import pytest
from sqlalchemy import insert, select

from polyforge.batch.files.records import Wish
from polyforge.database.scopes import Scope
from polyforge.dialects.openai_batches import BatchRequest, batch_id
from polyforge.dialects.openai_files import file_id
from polyforge.flows.running.pages import RunApprovals
from polyforge.flows.running.records import FlowRun, Question, Site
from polyforge.flows.running.sealing import Seals
from polyforge.jobs.records import NewJob
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.ids import new_ulid
from polyforge.server.process import create_app, has_console
from polyforge.tenancy.callers import ALL, Caller, Origin
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.payloads.records import Offered, Part, Payload
from polyforge.tenancy.people.records import User, hash_of
from polyforge.tenancy.people.tables import memberships, users
from polyforge.tenancy.policy import BUILT_IN_ROLES, LEVELS
from polyforge.tenancy.schemas import NewKey
from polyforge.tenancy.tables import organizations, projects
from polyforge.wiring.gateway import GatewayPlatform
from polyforge.wiring.overview import OverviewPlatform
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.starting import begin
from tests.support.application import client_of
from tests.support.databases import Place
from tests.support.samples_of_schemas import smallest
from tests.unit.tenancy.samples import record

ABSENT = "0" * 26
ABSENT_NAME = "absent"
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/api/v1/roles/{role_id}"): {"permissions": ["inference"]},
    ("PATCH", "/api/v1/memberships/{membership_id}"): {"role": "viewer"},
    ("PATCH", "/api/v1/service-accounts/{account_id}"): {"role": "viewer"},
    ("POST", "/api/v1/limits"): {"name": "wall", "subject": "key", "measure": "money", "amount": 1, "window": "day"},
    ("POST", "/api/v1/requests/{request_id}/feedback"): {"rating": 1},
    ("PATCH", "/api/v1/conversations/{conversation_id}"): {"version": 1, "shared": False},
    ("POST", "/api/v1/batches"): {"store": "none", "input": "a.csv", "endpoint": "/v1/embeddings"},
    ("POST", "/api/v1/jobs/schedules"): {
        "kind": "requests.export",
        "title": "wall",
        "cron": "0 3 * * *",
        "args": {"days": 1},
    },
    ("PATCH", "/api/v1/flows/{flow}"): {"title": "wall"},
    ("PUT", "/api/v1/flows/{flow}/publications/{alias}"): {"tool": True},
    ("POST", "/api/v1/budgets"): {"name": "wall too", "subject": "key", "amount_usd": 1, "window": "day"},
}
"""Bodies that the shortest one that the schema accepts would not do for."""
SHARED = {"models", "hosted-models", "flow-templates"}
"""Collections of what the installation declares for everybody; which of it a key may use is the key's to say."""
STREAMS = {
    "/api/v1/events",
    "/api/v1/overview/stream",
    "/api/v1/jobs/events",
    "/api/v1/jobs/{job_id}/events",
    "/api/v1/jobs/{job_id}/logs/stream",
    "/api/v1/flow-runs/{run_id}/events",
}
"""What does not end by itself."""
PERSONAL = {"conversations", "approvals"}
"""Collections of what all of the project see, and only who made it, or is asked, changes."""
Make = Callable[["World", "Tenant"], Awaitable[str]]


@dataclass(frozen=True)
class Route:
    """One operation of the platform's API."""

    method: str
    path: str
    permission: str | None
    body: Any

    @property
    def collection(self) -> str | None:
        """What the id in its path is of: the segment before it."""
        found = re.search(r"/([\w-]+)/{\w+}", self.path)
        return found[1] if found else None

    def at(self, identity: str, user_id: str) -> str:
        """Its path, with this id, and with this user's behind it where it wants another."""
        return re.sub(r"{\w+}", user_id, re.sub(r"{\w+}", identity, self.path, count=1))

    @property
    def tenants(self) -> bool:
        """Whether what it is about belongs to a tenant, and not to the installation or to the caller alone."""
        return (
            self.permission is not None and LEVELS[self.permission] != "installation" and self.collection not in SHARED
        )

    @property
    def harmless(self) -> bool:
        """Whether calling it leaves the world as it was."""
        return self.method == "GET"


@dataclass
class Credential:
    """Something to call with, and what the policy says that it may do."""

    title: str
    kind: Literal["key", "access token", "session", "service account"]
    headers: dict[str, str]
    permissions: frozenset[str]


@dataclass
class Tenant:
    """A project, and who may call in it."""

    organization_id: str
    project_id: str
    credentials: list[Credential] = field(default_factory=list[Credential])
    known: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def strongest(self) -> Credential:
        """A key that may do everything."""
        return self.credentials[0]

    @property
    def various(self) -> list[Credential]:
        """The strongest of each kind, and some of the others."""
        by_strength = sorted(self.credentials, key=lambda each: len(each.permissions))
        return [*{each.kind: each for each in by_strength}.values(), *self.credentials[1::5]]

    @property
    def owner(self) -> Caller:
        """Makes the first key."""
        scopes = frozenset({ALL})
        return Caller(ABSENT, "tests", self.organization_id, self.project_id, scopes, kind="system")


class World:
    """An installation with three tenants: two projects of one organization, and one of another."""

    def __init__(self, platform: GatewayPlatform, client: httpx.AsyncClient) -> None:
        self.platform = platform
        self.client = client
        self.tenants: list[Tenant] = []
        self.routes: list[Route] = []

    async def settle(self) -> None:
        """Make everything."""
        other, second = new_ulid(), new_ulid()
        self.tenants = [
            Tenant(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID),
            Tenant(DEFAULT_ORGANIZATION_ID, second),
            Tenant(other, new_ulid()),
        ]
        async with self.platform.database.write() as session:
            await session.change(insert(organizations).values(id=other, name="other", created_at=1.0))
            for tenant in self.tenants[1:]:
                row = {"id": tenant.project_id, "organization_id": tenant.organization_id}
                await session.change(insert(projects).values(**row, name="p", created_at=1.0))
        for tenant in self.tenants:
            tenant.credentials = [*await self._keys(tenant), *await self._users(tenant)]
            tenant.credentials.append(await self._service_account(tenant))
            for collection, make in MAKERS.items():
                tenant.known[collection] = await make(self, tenant)
        self.routes = await self._described()

    async def _keys(self, tenant: Tenant) -> list[Credential]:
        found: list[Credential] = []
        everything = frozenset(LEVELS)
        for scopes in ({ALL}, BUILT_IN_ROLES["viewer"].permissions, {"inference"}):
            body = NewKey(name="wall", scopes=sorted(scopes))
            _, secret = await self.platform.key_service.create(tenant.owner, body)
            allowed = everything if ALL in scopes else frozenset(scopes)
            found.append(Credential(f"key with {sorted(scopes)}", "key", _bearer(secret.value), allowed))
        return found

    async def _users(self, tenant: Tenant) -> list[Credential]:
        found: list[Credential] = []
        for role in BUILT_IN_ROLES.values():
            for project_id in (None, tenant.project_id):
                caller = await self.user(tenant, role.name, project_id)
                token = await self._begin(caller)
                here = (await self.platform.people.sessions.authenticate(token, tenant.project_id)).session
                issued = await self.platform.token_service.issue(caller, here.id, tenant.project_id)
                reach = {"project"} if project_id else {"project", "organization"}
                allowed = frozenset(name for name in role.permissions if LEVELS[name] in reach)
                title = f"{role.name} of {'the project' if project_id else 'the organization'}"
                found.append(Credential(title, "access token", _bearer(issued.access_token), allowed))
                if role.name == "owner":
                    sent = self._sent_with(token, caller)
                    found.append(Credential(f"session of {title}", "session", sent, allowed))
        return found

    async def _service_account(self, tenant: Tenant) -> Credential:
        account = await self.make(tenant, "/service-accounts", {"name": "wall", "role": "admin"})
        tokens = self.platform.token_service
        issued = await tokens.for_client(account["id"], account["secret"], Origin(), None)
        admin = BUILT_IN_ROLES["admin"].permissions
        allowed = frozenset(name for name in admin if LEVELS[name] == "project")
        return Credential("service account", "service account", _bearer(issued.access_token), allowed)

    async def _begin(self, caller: Caller) -> str:
        """The token of a new session."""
        async with self.platform.database.read() as session:
            row = await session.first(select(users).where(users.c.id == caller.key_id))
        return await self.platform.people.sessions.begin(User(**dict(row or {})), Origin(), "password")

    def _sent_with(self, token: str, caller: Caller) -> dict[str, str]:
        """What a browser sends along once somebody has signed in on our own page."""
        people = self.platform.people
        return {
            "cookie": people.cookie.issued(token, 60).partition(";")[0],
            "origin": str(self.client.base_url),
            "x-polyforge-csrf": people.csrf.value(hash_of(token)),
            "x-polyforge-project": caller.project_id,
        }

    async def user(self, tenant: Tenant, role: str, project_id: str | None) -> Caller:
        """A user with a role."""
        user_id = new_ulid()
        user = {"id": user_id, "email": f"{user_id}@example.org", "name": "x", "totp_step": 0, "recovery": []}
        held = {"organization_id": tenant.organization_id, "project_id": project_id, "role": role}
        async with self.platform.database.write() as session:
            await session.change(insert(users).values(**user, operator=False, created_at=1.0))
            row = {"id": new_ulid(), "kind": "user", "principal_id": user_id, "created_at": 1.0, **held}
            await session.change(insert(memberships).values(**row))
        return await self.platform.principals.of_user(user_id, tenant.project_id)

    async def _described(self) -> list[Route]:
        described = (await self.client.get("/api/openapi.json")).json()
        components = described.get("components", {}).get("schemas", {})
        return [
            Route(
                method.upper(), path, operation.get("x-permission"), _body(method.upper(), path, operation, components)
            )
            for path, operations in described["paths"].items()
            for method, operation in operations.items()
            if not path.startswith("/api/v1/auth/")
        ]

    async def make(self, tenant: Tenant, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One thing, by the tenant's strongest credential."""
        made = await self.client.post(f"/api/v1{path}", json=body, headers=tenant.strongest.headers)
        assert made.status_code == 201, made.text
        return made.json()

    async def call(self, route: Route, identity: str, credential: Credential | None, owner: Tenant) -> httpx.Response:
        """One call."""
        headers = credential.headers if credential else {}
        path = route.at(identity, owner.known["users"])
        return await self.client.request(route.method, path, headers=headers, json=route.body)


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _body(method: str, path: str, operation: dict[str, Any], components: dict[str, Any]) -> Any:
    if (method, path) in BODIES:
        return BODIES[method, path]
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    return None if schema is None else smallest(schema, components)


async def _key(world: World, tenant: Tenant) -> str:
    return (await world.make(tenant, "/keys", {"name": "thing"}))["id"]


async def _secret(world: World, tenant: Tenant) -> str:
    name = f"s{new_ulid().lower()}"
    return (await world.make(tenant, "/secrets", {"name": name, "value": "v"}))["name"]


async def _audit_event(world: World, tenant: Tenant) -> str:
    await _key(world, tenant)
    page = await world.client.get("/api/v1/audit", params={"limit": 1}, headers=tenant.strongest.headers)
    return page.json()["data"][0]["id"]


async def _role(world: World, tenant: Tenant) -> str:
    body = {"name": f"role {new_ulid()}", "permissions": ["inference"]}
    return (await world.make(tenant, "/roles", body))["id"]


async def _group(world: World, tenant: Tenant) -> str:
    return (await world.make(tenant, "/groups", {"name": f"group {new_ulid()}"}))["id"]


async def _project(world: World, tenant: Tenant) -> str:
    return (await world.make(tenant, "/projects", {"name": f"project {new_ulid()}"}))["id"]


async def _user(world: World, tenant: Tenant) -> str:
    return (await world.user(tenant, "viewer", None)).key_id


async def _membership(world: World, tenant: Tenant) -> str:
    where = {"project_id": tenant.project_id, "role": "analyst"}
    body = {"kind": "user", "principal_id": await _user(world, tenant), **where}
    return (await world.make(tenant, "/memberships", body))["id"]


async def _service_account(world: World, tenant: Tenant) -> str:
    return (await world.make(tenant, "/service-accounts", {"name": "robot", "role": "viewer"}))["id"]


async def _invitation(world: World, tenant: Tenant) -> str:
    body = {"email": f"{new_ulid().lower()}@example.org", "role": "viewer"}
    return (await world.make(tenant, "/invitations", body))["id"]


async def _limit(world: World, tenant: Tenant) -> str:
    body = {"name": f"limit {new_ulid()}", "subject": "project", "measure": "money", "amount": 1, "window": "day"}
    return (await world.make(tenant, "/limits", body))["id"]


async def _request(world: World, tenant: Tenant) -> str:
    whose = {"organization_id": tenant.organization_id, "project_id": tenant.project_id}
    call = record(**whose, started_at=1.0)
    await world.platform.ledger.append(f"walls-{call.id}", 0, 1, [call])
    scope = Scope(tenant.organization_id, tenant.project_id)
    words = Payload(Part(b"asked", 5), Part(b"said", 4), "text/plain", 200)
    world.platform.payloads.writer.offer(Offered(call.id, scope, "", "", 9, lambda: words))
    await world.platform.payloads.writer.flush()
    return call.id


async def _conversation(world: World, tenant: Tenant) -> str:
    body = {"title": f"chat {new_ulid()}", "shared": True, "content": {"panes": []}}
    return (await world.make(tenant, "/conversations", body))["id"]


async def _job(world: World, tenant: Tenant) -> str:
    new = NewJob(kind="requests.export", title="thing")
    return (await world.platform.jobs.service.start(tenant.owner, new)).id


async def _batch(world: World, tenant: Tenant) -> str:
    async def content() -> AsyncIterator[bytes]:
        yield b"{}"

    async def told() -> Wish:
        return Wish("batch")

    file = await world.platform.objects.files.upload(tenant.owner, "in.jsonl", content(), told)
    asked = BatchRequest(file_id(file.id), "/v1/embeddings", "24h")
    return batch_id((await world.platform.batches.service.create(tenant.owner, asked)).id)


async def _schedule(world: World, tenant: Tenant) -> str:
    body = {"kind": "requests.export", "title": f"schedule {new_ulid()}", "cron": "0 3 * * *", "args": {"days": 1}}
    return (await world.make(tenant, "/jobs/schedules", body))["id"]


async def _flow(world: World, tenant: Tenant) -> str:
    return (await world.make(tenant, "/flows", {"title": "thing"}))["id"]


async def _flow_trigger(world: World, tenant: Tenant) -> str:
    flow = (await world.make(tenant, "/flow-templates/review-mining/create", {}))["slug"]
    inputs = {"product": "x", "reviews": []}
    body = {"kind": "schedule", "title": "thing", "flow": flow, "inputs": inputs, "cron": "0 3 * * *"}
    return (await world.make(tenant, "/flow-triggers", body))["id"]


async def _run(world: World, tenant: Tenant) -> FlowRun:
    """A run that waits for a worker, of which there is none."""
    flow = (await world.make(tenant, "/flow-templates/review-mining/create", {}))["slug"]
    version = await world.platform.flows.flows.resolve(tenant.owner, flow)
    return await world.platform.flow_runs.runs.start(tenant.owner, version, {"product": "x", "reviews": []})


async def _flow_run(world: World, tenant: Tenant) -> str:
    return (await _run(world, tenant)).id


async def _approval(world: World, tenant: Tenant) -> str:
    run = await _run(world, tenant)
    site = Site(run.id, run.flow_id, run.flow_name, tenant.owner)
    asked = Question("ask", "", "Go on?", None, None, ("role:nobody",), 3_600.0)
    seals = Seals(world.platform.master)
    return await RunApprovals(world.platform.database, world.platform.clock, seals).ask(site, asked)


MAKERS: dict[str, Make] = {
    "keys": _key,
    "secrets": _secret,
    "audit": _audit_event,
    "roles": _role,
    "groups": _group,
    "projects": _project,
    "users": _user,
    "memberships": _membership,
    "service-accounts": _service_account,
    "invitations": _invitation,
    "limits": _limit,
    "budgets": _limit,
    "requests": _request,
    "conversations": _conversation,
    "jobs": _job,
    "batches": _batch,
    "schedules": _schedule,
    "flow-triggers": _flow_trigger,
    "flows": _flow,
    "flow-runs": _flow_run,
    "approvals": _approval,
}
"""From a collection to what makes one thing of it in a tenant; a new collection needs one."""


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    """The whole application, in this process, on a database of its own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        settings = {"data": str(place.data), "database": {"url": place.settings.url}}
        spec = ProcessSpec(
            index=0, workers=1, ready_fd=-1, life_fd=-1, session=new_ulid(), runtime=runtime, overrides=settings
        )
        platform = GatewayPlatform(begin(spec), spec, SystemClock())
        await platform.open()
        try:
            async with client_of(create_app(platform, OverviewPlatform(platform, spec, has_console))) as client:
                made = World(platform, client)
                await made.settle()
                yield made
        finally:
            await platform.close()


def expected(route: Route, credential: Credential | None, owner: Tenant, target: Tenant | None) -> set[int]:
    """The statuses that the policy allows, where `target` is the tenant that the id is of, None for an absent one."""
    if credential is None:
        return {401}
    if route.permission is not None and route.permission not in credential.permissions:
        return {403}
    if route.path.startswith("/api/v1/hosted-models"):
        # No model host runs beside this application.
        return {503}
    if route.collection is None or not route.tenants:
        return FINE | {404}
    if target is None or not _reaches(route, owner, target):
        return {404}
    if route.collection in PERSONAL and not route.harmless:
        return FINE | {403}
    # Of an answer speaks the key that asked, and people.
    two_things = route.path.count("{") > 1 or route.path.endswith("/feedback")
    return FINE | {404} if two_things else FINE


FINE = {200, 201, 202, 204, 400, 409}
"""Not refused for who asks or for where it lies."""


def _reaches(route: Route, owner: Tenant, target: Tenant) -> bool:
    if LEVELS[route.permission or ""] == "organization":
        return target.organization_id == owner.organization_id
    return target is owner


async def _random_calls_end_as_the_policy_says(world: World, calls: int) -> None:
    dice = random.Random(7)
    tried: set[tuple[str, str, int]] = set()
    routes = [route for route in world.routes if route.path not in STREAMS and route.permission]
    for _ in range(calls):
        route, owner = dice.choice(routes), dice.choice(world.tenants)
        credential = dice.choice([None, *owner.credentials])
        target = dice.choice([None, *world.tenants])
        identity = await _identity(world, route, target)
        response = await world.call(route, identity, credential, owner)
        wanted = expected(route, credential, owner, target)
        told = (route.method, route.path, credential.title if credential else "nobody", target is owner)
        assert response.status_code in wanted, (*told, response.status_code, wanted, response.text[:300])
        tried.add((route.method, route.path, response.status_code))
    assert len({status for _, _, status in tried}) >= 5


async def _identity(world: World, route: Route, target: Tenant | None) -> str:
    collection = route.collection
    if collection is None or target is None or not route.tenants:
        return ABSENT_NAME if collection in ("flags", "secrets") else ABSENT
    if route.harmless:
        return target.known[collection]
    return await MAKERS[collection](world, target)


async def _what_is_foreign_answers_as_what_is_absent(world: World) -> None:
    """Word for word, with every kind of credential of each tenant, on every route with an id."""
    ours, sister, theirs = world.tenants
    for route in world.routes:
        if route.collection is None or not route.tenants:
            continue
        for owner, target in ((ours, theirs), (theirs, ours), (sister, ours)):
            if _reaches(route, owner, target):
                continue
            identity = target.known[route.collection]
            missing = ABSENT_NAME if route.collection == "secrets" else ABSENT
            for credential in owner.various:
                foreign = await world.call(route, identity, credential, owner)
                absent = await world.call(route, missing, credential, owner)
                wanted = 404 if route.permission in credential.permissions else 403
                assert foreign.status_code == absent.status_code == wanted, (route, foreign.text, absent.text)
                assert _told(foreign, identity) == _told(absent, missing), route


def _told(response: httpx.Response, identity: str) -> dict[str, Any]:
    body = response.json()
    del body["request_id"]
    return {name: str(value).replace(identity, "ID") for name, value in body.items()}


async def _lists_hold_nothing_foreign(world: World) -> None:
    for route in world.routes:
        if route.method != "GET" or route.collection is not None or route.path in STREAMS or not route.tenants:
            continue
        for owner in world.tenants:
            text = (await world.call(route, "", owner.strongest, owner)).text
            for other in world.tenants:
                if other.organization_id == owner.organization_id:
                    continue
                found = [identity for identity in (*other.known.values(), other.project_id) if identity in text]
                assert not found, (route.path, found)


async def _every_route_can_be_called(world: World) -> None:
    """A new route is not forgotten above, and what is asked for is not malformed, or it would not reach the policy."""
    collections = {route.collection for route in world.routes if route.collection is not None and route.tenants}
    assert collections - set(MAKERS) == set()
    ours = world.tenants[0]
    for route in world.routes:
        if route.collection is None or not route.tenants:
            continue
        response = await world.call(
            route, ABSENT_NAME if route.collection == "secrets" else ABSENT, ours.strongest, ours
        )
        assert response.status_code == 404, (route, response.text)


@pytest.mark.soak
async def test_the_walls(world: World, soak: bool) -> None:
    """One after the other in one world, which is dear to make; ten thousand calls in `make soak`."""
    await _every_route_can_be_called(world)
    await _lists_hold_nothing_foreign(world)
    await _what_is_foreign_answers_as_what_is_absent(world)
    await _random_calls_end_as_the_policy_says(world, 10_000 if soak else 1_000)
