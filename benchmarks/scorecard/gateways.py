"""The gateways as the scorecard starts and asks them: each configured the best way that its documentation knows."""

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks import targets
from benchmarks.processes import StartFailed
from benchmarks.scorecard.hearing import Caller, Dress
from benchmarks.scorecard.judging import NotOffered
from benchmarks.targets import UPSTREAM_KEY, Site, Target
from tests.support.clients import Response, call
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

TIMEOUT = 5
"""Seconds that each gateway may wait for its upstream: to the first token, and between two."""
METERING_SECONDS = 20.0
LOG_PATH = "/metering"
Guard = Literal["service", "dead-service", "personal-data"]


@dataclass(frozen=True)
class Model:
    """A model of one row, which the upstream knows by the same name."""

    name: str
    cached: bool = False
    guard: Guard | None = None
    """A guardrail: one that asks a service about the prompt, or one that looks for personal data in the answer."""


@dataclass(frozen=True)
class Services:
    """What is around a gateway."""

    upstream: Upstream
    guard_url: str
    """Where a guardrail service finds nothing to object to."""
    dead_guard_url: str
    """Where nobody listens."""
    models: Sequence[Model]

    def named(self, name: str) -> Model:
        """The model of that name."""
        return next(model for model in self.models if model.name == name)


class Gateway(ABC):
    """One gateway: the program, and how its features are asked for. What it lacks raises NotOffered."""

    def __init__(self, services: Services, target: Target) -> None:
        self.services = services
        self.target = target

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.target.url("whole").removesuffix(targets.CHAT)

    def caller(self) -> Caller:
        """Somebody who may do everything."""
        return Caller(self.url, self.target.headers("whole"), self.dress)

    def bearer(self, key: str) -> Caller:
        """Somebody with this key."""
        return Caller(self.url, {**self.target.headers("whole"), "authorization": f"Bearer {key}"}, self.dress)

    def dress(self, model: str) -> Dress:
        """What a request for a model needs beside itself."""
        del model
        return Dress()

    @abstractmethod
    def metered(self, model: str) -> tuple[int, int] | None:
        """Tokens of prompt and completion on record for a model, once there are some; None when none come."""

    @abstractmethod
    def budgeted(self, calls: int) -> Caller:
        """Somebody whose budget is enough for so many calls."""

    @abstractmethod
    def revocable(self) -> tuple[Caller, Callable[[], None]]:
        """Somebody, and how to take their key away."""

    @abstractmethod
    def tenants(self) -> tuple[Caller, Caller]:
        """Somebody of one tenant and somebody of another."""


class Polyforge(Gateway):
    """Polyforge with its embedded storage; tenants are organizations."""

    def __init__(self, services: Services) -> None:
        self._server = PolyforgeServer(services)
        super().__init__(services, self._server)

    def metered(self, model: str) -> tuple[int, int] | None:
        """From the usage report."""
        return _at_last(lambda: self._tokens(model))

    def _tokens(self, model: str) -> tuple[int, int] | None:
        rows: list[dict[str, Any]] = self._server.manage("GET", "/api/v1/usage?group_by=model")["data"]
        return next(((row["input_tokens"], row["output_tokens"]) for row in rows if row["model"] == model), None)

    def budgeted(self, calls: int) -> Caller:
        """A key with a budget of that many times the price of a call."""
        return self.bearer(self._new_key(budget_usd=calls * PolyforgeServer.PER_CALL_USD)["key"])

    def revocable(self) -> tuple[Caller, Callable[[], None]]:
        """A key and its deletion."""
        made = self._new_key()
        return self.bearer(made["key"]), lambda: self._revoke(made["id"])

    def tenants(self) -> tuple[Caller, Caller]:
        """A key of the first organization, and one of a second that a user of its own runs."""
        return self.bearer(self._new_key()["key"]), self.bearer(self._key_of_another_organization())

    def _new_key(self, **limits: Any) -> dict[str, Any]:
        return self._server.manage("POST", "/api/v1/keys", json.dumps({"name": "scorecard", **limits}).encode())

    def _revoke(self, key_id: str) -> None:
        self._server.manage("DELETE", f"/api/v1/keys/{key_id}")

    def _key_of_another_organization(self) -> str:
        password = secrets.token_urlsafe(24)
        user = {"email": "ann@example.com", "name": "Ann", "password": password}
        user_id = self._server.manage("POST", "/api/v1/users", json.dumps(user).encode())["id"]
        other = {"name": "other", "owner_id": user_id}
        organization = self._server.manage("POST", "/api/v1/organizations", json.dumps(other).encode())["id"]
        signed_in = self._page("POST", "/auth/sign-in", {"email": user["email"], "password": password}, {})
        cookie = {"cookie": signed_in.headers["set-cookie"].partition(";")[0]}
        proof = {**cookie, "x-polyforge-csrf": self._page("GET", "/me", None, cookie).json["csrf"]}
        projects: list[dict[str, Any]] = self._page("GET", "/me/projects", None, cookie).json["data"]
        project = next(each["id"] for each in projects if each["organization_id"] == organization)
        made = self._page("POST", "/keys", {"name": "other"}, {**proof, "x-polyforge-project": project})
        return str(made.json["key"])

    def _page(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Response:
        host = self.url.removeprefix("http://")
        ours = {"host": host, "origin": self.url, **headers}
        answer = call(self.url, f"/api/v1{path}", method=method, json=body, headers=ours)
        if answer.status not in (200, 201):
            raise StartFailed(f"{method} {path} answered {answer.status}: {answer.body[:300]!r}")
        return answer


class PolyforgeServer(targets.Polyforge):
    """`polyforge up` with the models of the scorecard."""

    PER_CALL_USD = 1.0

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def settings(self, site: Site) -> dict[str, Any]:
        """One provider, and a model per row."""
        lab = {"use": "openai", "base_url": f"{site.upstreams['whole']}/v1", "api_key": "env:BENCHMARK_UPSTREAM_KEY"}
        return {
            "providers": {"lab": lab},
            "models": {model.name: self._model(model) for model in self._services.models},
            "guardrails": self._guardrails(),
            "gateway": {"timeouts": {"first_token": TIMEOUT, "idle": TIMEOUT}},
        }

    def _model(self, model: Model) -> dict[str, Any]:
        described: dict[str, Any] = {
            "task": "chat",
            "deployments": [{"provider": "lab", "model": model.name}],
            "price": {"per_call": self.PER_CALL_USD},
        }
        if model.cached:
            described["cache"] = {"ttl": 600}
        if model.guard:
            described["guardrails"] = [model.guard]
        return described

    def _guardrails(self) -> dict[Guard, dict[str, Any]]:
        service = {"use": "http", "on": ["input"], "url": self._services.guard_url}
        return {
            "service": service,
            "dead-service": {**service, "url": self._services.dead_guard_url},
            "personal-data": {"use": "pii", "on": ["output"], "action": "mask", "kinds": ["email"]},
        }


class Portkey(Gateway):
    """Portkey's gateway, which is told by the headers of each request what to do."""

    def __init__(self, services: Services) -> None:
        super().__init__(services, targets.Portkey())

    def dress(self, model: str) -> Dress:
        """A config with the timeout, the cache and the guardrails; `failOnError` lets a guardrail fail closed."""
        wanted = self.services.named(model)
        config: dict[str, Any] = {"request_timeout": TIMEOUT * 1000}
        if wanted.cached:
            config["cache"] = {"mode": "simple"}
        if wanted.guard == "personal-data":
            raise NotOffered(
                "output guardrails take no action on streams "
                "(portkey.ai/docs/guides/use-cases/streaming-output-guardrails)"
            )
        if wanted.guard:
            url = self.services.guard_url if wanted.guard == "service" else self.services.dead_guard_url
            check = {"webhookURL": url, "failOnError": True}
            config["input_guardrails"] = [{"default.webhook": check, "deny": True, "async": False}]
        return Dress({"x-portkey-config": json.dumps(config)})

    def metered(self, model: str) -> tuple[int, int] | None:
        """There is no record of usage."""
        raise NotOffered("the open gateway keeps no usage; logs and costs are in Portkey's hosted service")

    def budgeted(self, calls: int) -> Caller:
        """There are no keys."""
        raise NotOffered("the open gateway has no keys of its own; budgets are in Portkey's hosted service")

    def revocable(self) -> tuple[Caller, Callable[[], None]]:
        """There are no keys."""
        raise NotOffered("the open gateway has no keys of its own: callers bring the provider's key")

    def tenants(self) -> tuple[Caller, Caller]:
        """Tenants are told apart by the provider's key that they bring."""
        return self.bearer("sk-first-tenant"), self.bearer("sk-second-tenant")


class LiteLLM(Gateway):
    """LiteLLM's proxy without a database, which its own keys would need."""

    def __init__(self, services: Services) -> None:
        self._server = LiteLLMServer(services)
        super().__init__(services, self._server)

    def dress(self, model: str) -> Dress:
        """The cache and the guardrails, by name, for the rows that are about them."""
        wanted = self.services.named(model)
        body: dict[str, Any] = {}
        if wanted.cached:
            body["cache"] = {"use-cache": True}
        if wanted.guard:
            body["guardrails"] = [wanted.guard]
        return Dress(body=body)

    def metered(self, model: str) -> tuple[int, int] | None:
        """From the log of calls that its `generic_api` callback posts."""
        return _at_last(lambda: self._tokens(model))

    def _tokens(self, model: str) -> tuple[int, int] | None:
        posted = [request.body for request in self.services.upstream.requests() if request.path == LOG_PATH]
        calls: list[dict[str, Any]] = [each for body in posted for each in json.loads(body)]
        found = [each for each in calls if each["model_group"] == model and each["status"] == "success"]
        return (found[0]["prompt_tokens"], found[0]["completion_tokens"]) if found else None

    def budgeted(self, calls: int) -> Caller:
        """Its keys are in a database."""
        raise NotOffered("keys and their budgets need PostgreSQL (docs.litellm.ai/docs/proxy/virtual_keys)")

    def revocable(self) -> tuple[Caller, Callable[[], None]]:
        """Its keys are in a database."""
        raise NotOffered("keys that can be revoked need PostgreSQL (docs.litellm.ai/docs/proxy/virtual_keys)")

    def tenants(self) -> tuple[Caller, Caller]:
        """Keys of two teams, told apart by a `custom_auth`."""
        first, second = self._server.team_keys
        return self.bearer(first), self.bearer(second)


LITELLM_AUTH = """
from litellm.proxy._types import UserAPIKeyAuth

TEAMS = {teams}


async def user_api_key_auth(request, api_key):
    if api_key not in TEAMS:
        raise Exception("unknown key")
    return UserAPIKeyAuth(api_key=api_key, team_id=TEAMS[api_key])
"""
"""What its documentation calls custom auth (docs.litellm.ai/docs/proxy/custom_auth): teams without a database."""


class LiteLLMServer(targets.LiteLLM):
    """LiteLLM's proxy with the models of the scorecard: no retries, so that one attempt is seen."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self.team_keys = (f"sk-{secrets.token_hex(16)}", f"sk-{secrets.token_hex(16)}")

    def start(self, site: Site) -> None:
        """Put the custom auth beside the configuration."""
        master = self.headers("whole")["authorization"].removeprefix("Bearer ")
        teams = {master: "operators", **{key: f"team-{number}" for number, key in enumerate(self.team_keys)}}
        (site.folder / "scorecard_auth.py").write_text(LITELLM_AUTH.format(teams=json.dumps(teams)))
        super().start(site)

    def settings(self, site: Site) -> dict[str, Any]:
        """A model per row; cache and guardrails wait until a request asks for them."""
        base = site.upstreams["whole"]
        log = f"{base}{LOG_PATH}"
        return {
            "model_list": [self._model(model, base) for model in self._services.models],
            "router_settings": {"num_retries": 0},
            "general_settings": {"custom_auth": "scorecard_auth.user_api_key_auth", "cancel_on_disconnect": True},
            "litellm_settings": {
                "telemetry": False,
                "cache": True,
                "cache_params": {"type": "local", "mode": "default_off"},
                "callbacks": ["scorecard"],
            },
            "callback_settings": {"scorecard": {"callback_type": "generic_api", "endpoint": log, "headers": {}}},
            "guardrails": [
                self._service_guardrail("service", self._services.guard_url),
                self._service_guardrail("dead-service", self._services.dead_guard_url),
                _guardrail(
                    "personal-data",
                    guardrail="litellm_content_filter",
                    mode="post_call",
                    patterns=[{"pattern_type": "prebuilt", "pattern_name": "email", "action": "MASK"}],
                ),
            ],
        }

    @staticmethod
    def _model(model: Model, base: str) -> dict[str, Any]:
        upstream = {"model": f"openai/{model.name}", "api_base": f"{base}/v1", "api_key": UPSTREAM_KEY}
        return {
            "model_name": model.name,
            "litellm_params": {**upstream, "timeout": TIMEOUT, "stream_timeout": TIMEOUT},
        }

    @staticmethod
    def _service_guardrail(name: str, url: str) -> dict[str, Any]:
        return _guardrail(
            name,
            guardrail="generic_guardrail_api",
            mode="pre_call",
            api_base=url,
            unreachable_fallback="fail_closed",
        )


def _guardrail(name: str, **parameters: Any) -> dict[str, Any]:
    return {"guardrail_name": name, "litellm_params": parameters}


def _at_last(look: Callable[[], tuple[int, int] | None]) -> tuple[int, int] | None:
    try:
        return eventually(look, "a record of the usage", METERING_SECONDS)
    except AssertionError:
        return None


GATEWAYS: Mapping[str, Callable[[Services], Gateway]] = {
    "polyforge": Polyforge,
    "portkey": Portkey,
    "litellm": LiteLLM,
}
"""In the order of the table."""
