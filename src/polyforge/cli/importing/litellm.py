"""A configuration of the LiteLLM proxy as settings of ours, and what of it has no counterpart.

Source: https://docs.litellm.ai/docs/proxy/config_settings
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Final, NamedTuple

from polyforge.cli.importing.findings import Finding, Findings, Tree, listing, mapping, number, whole
from polyforge.cli.importing.litellm_models import (
    TEXT_TASKS,
    capabilities_of,
    cost_of,
    is_price,
    is_told,
    limits_of,
    task_of,
)
from polyforge.cli.importing.litellm_providers import REFERENCE, Deployed, Missing, Place, Secrets, place_of

MOST_DEPLOYMENTS: Final = 10_000
_MOST_ATTEMPTS: Final = 10
_STRATEGIES: Final = {
    "simple-shuffle": "weighted",
    "latency-based-routing": "least_latency",
    "cost-based-routing": "least_cost",
}
_SECTIONS: Final = frozenset(
    {
        "model_list",
        "router_settings",
        "litellm_settings",
        "general_settings",
        "environment_variables",
        "credential_list",
    }
)
_NOTHING: Final = "has no counterpart"
_OF_CALLS: Final = "is not sent with each call here; callers send what they want themselves"
_RATES: Final = "deployments have no limits of their own here; give the keys of callers `rpm` and `tpm`"
_EXPLAINED: Final = {
    "rpm": _RATES,
    "tpm": _RATES,
    "max_parallel_requests": "set `max_connections` of the provider",
    "timeout": "there is one set of timeouts for all: gateway.timeouts",
    "stream_timeout": "there is one set of timeouts for all: gateway.timeouts",
    "max_retries": "a deployment is tried once; gateway.attempts counts the deployments tried for a request",
    "drop_params": "set gateway.unsupported_parameters for all models",
    "base_model": "set `cost`, or `cost_as` with its name in the catalogue of prices",
    "allowed_fails": "one failure is enough; gateway.cooldown_seconds says for how long at least",
    "content_policy_fallbacks": "a refusal of what was asked is told to the caller",
    "database_url": "keys, teams and spending are not taken over; name a database of our own in database.url",
    "redis_host": "limits hold across the workers of a machine without Redis",
    "redis_port": "limits hold across the workers of a machine without Redis",
    "redis_password": "limits hold across the workers of a machine without Redis",
}


class Imported(NamedTuple):
    """Settings as they stand in polyforge.yaml, and what is to be said of them."""

    settings: Tree
    findings: list[Finding]


def import_litellm(config: Mapping[str, object], environ: Mapping[str, str]) -> Imported:
    """Settings that do what `config` does, as far as they can; SettingsError names what is no such configuration.

    `environ` is where `os.environ/NAME` is looked up for what is no secret; secrets become references. Keys and
    passwords of the file are never repeated.
    """
    return _Import(config, environ).run()


class _Import:
    """One import, section by section."""

    def __init__(self, config: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self._config = config
        self._findings = Findings()
        variables = mapping(config.get("environment_variables"), "environment_variables")
        self._variables = {name: str(value) for name, value in variables.items()}
        self._secrets = Secrets({**environ, **self._variables}, self._findings)
        self._providers: dict[str, Tree] = {}
        self._models: dict[str, Tree] = {}
        self._own: dict[str, list[Tree]] = {}
        self._fell_back: set[tuple[str, str]] = set()
        self._gateway: Tree = {}
        self._settings: Tree = {}

    def run(self) -> Imported:
        for name in self._config:
            if name not in _SECTIONS:
                self._left_out(str(name), str(name))
        self._read_models()
        self._read_router(self._section("router_settings"), "router_settings")
        self._read_router(self._section("litellm_settings"), "litellm_settings")
        self._read_general(self._section("general_settings"))
        for name in self._variables:
            self._findings.to_do(f"environment_variables.{name}", "set it in the environment of `polyforge up`")
        whole_tree = {**self._settings, "gateway": self._gateway, "providers": self._providers, "models": self._models}
        return Imported({name: section for name, section in whole_tree.items() if section}, self._findings.all)

    def _section(self, name: str) -> Tree:
        return mapping(self._config.get(name), name)

    def _left_out(self, path: str, name: str, otherwise: str = _NOTHING) -> None:
        self._findings.left_out(path, _EXPLAINED.get(name, otherwise))

    # Models

    def _read_models(self) -> None:
        entries = listing(self._config.get("model_list"), "model_list")[:MOST_DEPLOYMENTS]
        credentials = self._credentials()
        for number_, entry in enumerate(entries):
            path = f"model_list[{number_}]"
            try:
                self._read_deployment(mapping(entry, path), path, credentials)
            except Missing as missing:
                self._findings.left_out(path, str(missing))
        for name, model in self._models.items():
            _order(model["deployments"])
            self._own[name] = list(model["deployments"])

    def _credentials(self) -> dict[str, Tree]:
        named = [
            mapping(each, "credential_list") for each in listing(self._config.get("credential_list"), "credential_list")
        ]
        return {
            str(each.get("credential_name")): mapping(each.get("credential_values"), "credential_list")
            for each in named
        }

    def _read_deployment(self, entry: Tree, path: str, credentials: Mapping[str, Tree]) -> None:
        name = str(entry.pop("model_name", "") or "")
        params = mapping(entry.pop("litellm_params", None), f"{path}.litellm_params")
        info = mapping(entry.pop("model_info", None), f"{path}.model_info")
        if not name or not params.get("model"):
            raise Missing("it has no model_name or no litellm_params.model")
        shared = credentials.get(str(params.pop("litellm_credential_name", None)), {})
        deployed = Deployed({**shared, **params}, f"{path}.litellm_params", self._secrets)
        place = place_of(deployed)
        task = self._task_of(info, place, name)
        deployment = self._deployment(place, deployed, info, path)
        for left in deployed.left:
            self._left_out(deployed.path(left), left, _OF_CALLS)
        for left in [*(f"model_info.{each}" for each in info if not is_told(each)), *entry]:
            self._left_out(f"{path}.{left}", left.removeprefix("model_info."))
        model = self._models.setdefault(name, {"task": task, "deployments": []})
        model["deployments"].append(deployment)

    def _task_of(self, info: Tree, place: Place, name: str) -> str:
        task = task_of(info, place.model)
        if task is None:
            raise Missing(f"there is no counterpart for the mode {info['mode']!r}")
        if task not in TEXT_TASKS and place.settings["use"] != "openai":
            raise Missing(f"the provider {place.settings['use']} is not asked for the task {task}")
        known = self._models.get(name, {}).get("task", task)
        if known != task:
            raise Missing(f"other deployments of {name!r} are for the task {known}, this one is for {task}")
        return task

    def _deployment(self, place: Place, deployed: Deployed, info: Tree, path: str) -> Tree:
        deployment: Tree = {"provider": self._provider(place)}
        if not place.model.endswith("*"):
            deployment["model"] = place.model
        elif place.model != "*":
            raise Missing(f"only `*` alone can stand for models of the provider, not {place.model!r}")
        if (weight := deployed.take("weight")) is not None:
            deployment["weight"] = number(weight, deployed.path("weight")) or 1.0
        if (order := deployed.take("order")) is not None:
            deployment["priority"] = whole(order, deployed.path("order"))
        if tags := listing(deployed.take("tags"), deployed.path("tags")):
            deployment["tags"] = [str(tag) for tag in tags]
        priced = {name: deployed.take(name) for name in deployed.left if is_price(name)}
        told = {
            "cost": cost_of({**info, **priced}, path),
            "limits": limits_of(info, f"{path}.model_info"),
            "capabilities": capabilities_of(info),
        }
        return {**deployment, **{name: value for name, value in told.items() if value}}

    def _provider(self, place: Place) -> str:
        """The name of a provider with these settings, new or old."""
        number_ = 1
        name = place.name
        while self._providers.setdefault(name, place.settings) != place.settings:
            number_ += 1
            name = f"{place.name}-{number_}"
        return name

    # Routing

    def _read_router(self, section: Tree, path: str) -> None:
        """Both sections know the settings of the router."""
        steps: dict[str, Callable[[object, str], None]] = {
            "model_group_alias": self._read_aliases,
            "fallbacks": self._read_fallbacks,
            "default_fallbacks": self._read_default_fallbacks,
            "context_window_fallbacks": self._read_larger,
            "routing_strategy": self._read_strategy,
            "num_retries": self._read_retries,
            "timeout": self._read_timeout,
            "request_timeout": self._read_timeout,
            "stream_timeout": self._read_stream_timeout,
            "cooldown_time": self._read_cooldown,
            "drop_params": self._read_drop,
            "cache": self._read_cache,
            "cache_params": self._read_cache_params,
        }
        for name, read in steps.items():
            if section.get(name) not in (None, [], {}):
                read(section[name], f"{path}.{name}")
        for name, value in section.items():
            if name not in steps and value not in (None, False, [], {}):
                self._left_out(f"{path}.{name}", name)

    def _read_aliases(self, value: object, path: str) -> None:
        for alias, target in mapping(value, path).items():
            name = str(target.get("model") if isinstance(target, dict) else target)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            if name in self._models and alias not in self._models:
                self._models[alias] = deepcopy(self._models[name])
                self._own[alias] = self._own[name]
            else:
                self._findings.left_out(f"{path}.{alias}", f"there is no model {name!r}, or one of the alias's name")

    def _read_cache(self, value: object, path: str) -> None:
        if value is True:
            self._settings.setdefault("cache", {}).setdefault("default", {})

    def _read_cache_params(self, value: object, path: str) -> None:
        params = mapping(value, path)
        ttl, kind = params.pop("ttl", None), params.pop("type", "local")
        if "cache" in self._settings and isinstance(ttl, int | float) and ttl > 0:
            self._settings["cache"]["default"] = {"ttl": ttl}
        if kind != "local":
            self._findings.to_do(f"{path}.type", "answers stay in memory; for Redis set cache.use and cache.url")
        for name in params.keys() - {"url", "host", "port", "password"}:
            self._left_out(f"{path}.{name}", name)

    def _read_fallbacks(self, value: object, path: str) -> None:
        for model, others in _pairs(value, path):
            self._fall_back(model, others, path)

    def _read_default_fallbacks(self, value: object, path: str) -> None:
        others = [str(each) for each in listing(value, path)]
        for model in list(self._models):
            self._fall_back(model, [other for other in others if other != model], path)

    def _read_larger(self, value: object, path: str) -> None:
        for model, others in _pairs(value, path):
            if not self._fall_back(model, others, path):
                continue
            self._models[model]["on_context_overflow"] = "larger"
            self._findings.to_do(path, f"give the deployments of {model!r} `limits.context`: the larger ones are tried")

    def _fall_back(self, model: str, others: list[str], path: str) -> bool:
        """Add the own deployments of other models, to be tried after its own; whether there were any."""
        own = self._models.get(model)
        if own is None:
            self._findings.left_out(path, f"there is no model {model!r}")
            return False
        usable = False
        for other in others:
            found = self._models.get(other)
            if found is None or other == model or found["task"] != own["task"]:
                self._findings.left_out(path, f"{model!r} cannot fall back to {other!r}: no such model for its task")
                continue
            usable = True
            if (model, other) not in self._fell_back:
                self._fell_back.add((model, other))
                own["deployments"] += _after(own["deployments"], self._own[other])
        return usable

    def _read_strategy(self, value: object, path: str) -> None:
        strategy = _STRATEGIES.get(str(value))
        if strategy is None:
            self._findings.changed(path, f"there is no {str(value)[:60]!r}; deployments are chosen by their weights")
        elif strategy != "weighted":
            for model in self._models.values():
                model["routing"] = {"strategy": strategy}

    def _read_retries(self, value: object, path: str) -> None:
        self._gateway["attempts"] = min(_MOST_ATTEMPTS, whole(value, path) + 1)
        self._findings.changed(path, "became gateway.attempts: each attempt is at another deployment, if there is one")

    def _read_timeout(self, value: object, path: str) -> None:
        if seconds := number(value, path):
            self._gateway.setdefault("timeouts", {}).update({"request": seconds, "total": seconds})

    def _read_stream_timeout(self, value: object, path: str) -> None:
        if seconds := number(value, path):
            self._gateway.setdefault("timeouts", {})["first_token"] = seconds

    def _read_cooldown(self, value: object, path: str) -> None:
        self._gateway["cooldown_seconds"] = number(value, path)

    def _read_drop(self, value: object, path: str) -> None:
        if value is True:
            self._gateway["unsupported_parameters"] = "drop"

    # The rest

    def _read_general(self, section: Tree) -> None:
        master = section.pop("master_key", None)
        if master is not None and str(master).startswith(REFERENCE):
            self._settings["admin_key"] = f"env:{str(master).removeprefix(REFERENCE)}"
        elif master is not None:
            path = "general_settings.master_key"
            self._findings.to_do(path, "give the admin key in the environment variable POLYFORGE_ADMIN_KEY")
        for name, value in section.items():
            if value not in (None, False, [], {}):
                self._left_out(f"general_settings.{name}", name)


def _pairs(value: object, path: str) -> list[tuple[str, list[str]]]:
    """What LiteLLM writes as a list of mappings with one name each."""
    pairs = [pair for each in listing(value, path) for pair in mapping(each, path).items()]
    return [(model, [str(other) for other in listing(others, path)]) for model, others in pairs]


def _after(own: list[Tree], others: list[Tree]) -> list[Tree]:
    """Copies of deployments that come after all the others, in their own order."""
    last = max(deployment.get("priority", 0) for deployment in own)
    return [{**deepcopy(each), "priority": last + 1 + each.get("priority", 0)} for each in others]


def _order(deployments: list[Tree]) -> None:
    """Priorities from 0, as ours are; LiteLLM's begin anywhere, and what has none comes last."""
    given = [deployment["priority"] for deployment in deployments if "priority" in deployment]
    if not given:
        return
    for deployment in deployments:
        deployment["priority"] = deployment.get("priority", max(given) + 1) - min(given)
