"""Which models there are and what can answer for each, resolved once from the settings."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import count
from typing import Literal

import msgspec

from polyforge.kernel.errors import Invalid, ModelNotFound, SettingsError
from polyforge.kernel.hosted_names import is_hosted
from polyforge.kernel.tasks import Task
from polyforge.ports.provider import KEY_HEADER, Capabilities
from polyforge.registry.answering import MAX_ANSWERING, Answer, Answering, NothingRegistered
from polyforge.registry.caching import CacheRules, rules_of
from polyforge.registry.costs import Costs, UnknownCosts
from polyforge.registry.settings import DeploymentSettings, Hardware, ModelSettings, Strategy
from polyforge.registry.tariffs import FREE, Tariff, tariff_of

LOCAL = "local"
"""The provider that is our own model host."""
REGISTERED = "registered"
"""What stands for the registered models where something is the same for all."""
_CACHED_WILDCARDS = 10_000
Origin = Literal["file", "api", "project", "package"]
"""Where a model was declared: in polyforge.yaml, over the API for all, by a project for itself, or it came along."""


class Deployment(msgspec.Struct, frozen=True, gc=False):
    """One place that can answer. `index` is its number on this machine, the same in every worker."""

    index: int
    provider: str
    model: str
    """The provider's own name; empty stands for what the caller's wildcard matched."""
    weight: float
    priority: int
    context: int | None
    output: int | None
    cost: Tariff | None
    """What the provider charges us; None: nobody declared it, and such calls are to be refused."""
    price: Tariff | None
    """What callers are charged for its answers."""
    priced: bool = False
    """Whether that was declared, and is not just the cost."""
    caller_keys: bool = False
    """Whether its provider can be called with a key that the caller brought."""
    vision: bool | None = None
    """Whether it takes images and files; None: nobody said."""
    tools: bool | None = None
    structured_output: bool | None = None
    region: str | None = None
    hardware: Hardware | None = None
    tags: frozenset[str] = frozenset()
    unnamed_cost: bool = False
    """Whether its cost depends on what the wildcard matched, and has to be looked up then."""

    @property
    def takes_all(self) -> bool:
        """Whether there is no request that it is known to be unable to answer."""
        return self.vision is not False and self.tools is not False and self.structured_output is not False


class Model(msgspec.Struct, frozen=True, gc=False):
    """A name that callers use."""

    name: str
    task: Task
    deployments: tuple[Deployment, ...]
    any_task: bool = False
    """A wildcard: whatever its providers can do."""
    strategy: Strategy = "weighted"
    exploration: float = 0.0
    """The share of requests for which `least_latency` leaves the order to chance."""
    widens: bool = False
    """Whether a prompt that is too long for one deployment is tried at a larger one."""
    simple: bool = False
    """Has one deployment, which takes whatever comes: there is nothing to choose."""
    guardrails: tuple[str, ...] = ()
    """Names of those that its calls have to pass, beside those that all do."""
    cache: CacheRules | None = None
    """Which answers are kept and given again; None: none."""
    declared_in: Origin = "file"

    def does(self, task: Task) -> bool:
        """Whether it answers requests of this task; a chat model also completes."""
        return self.any_task or task == self.task or (task == "completion" and self.task == "chat")

    def with_callers_key(self) -> "Model":
        """As it is for a caller who brings a key; Invalid when its provider takes none.

        A key is of one provider, and must not be shown to another: it goes to the one that lists of models name as the
        owner, that of the first deployment. Its answers cost us nothing, and are charged for if a price is declared.
        """
        owner = self.deployments[0]
        if not owner.caller_keys:
            raise Invalid(
                f"the provider of {self.name!r} takes no key of a caller; leave {KEY_HEADER} out", param=KEY_HEADER
            )
        places = [place for place in self.deployments if place.provider == owner.provider]
        return msgspec.structs.replace(self, deployments=tuple(_at_no_cost(place) for place in places))


def _at_no_cost(place: Deployment) -> Deployment:
    return msgspec.structs.replace(place, cost=FREE, price=place.price if place.priced else FREE)


class Catalog:
    """Every model by name. Names that end in `/*` stand for every model behind that prefix.

    Beside what is declared for all, each project has the models that it registered; those are looked for last.
    `registered` knows them, and `template` is what they have in common.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        costs: Costs = UnknownCosts(),  # noqa: B008  # it holds nothing
        registered: Answering = NothingRegistered(),  # noqa: B008  # it holds nothing
        template: Model | None = None,
    ) -> None:
        self._costs = costs
        self._registered = registered
        self._template = template
        self._exact = {name: model for name, model in models.items() if not name.endswith("*")}
        wildcards = [(name[:-1], model) for name, model in models.items() if name.endswith("*")]
        self._wildcards = sorted(wildcards, key=lambda pair: len(pair[0]), reverse=True)
        self._matched: dict[str, Model] = {}
        self._first_registered = self._declared_count()

    @property
    def costs(self) -> Costs:
        """What finds published costs."""
        return self._costs

    def find(self, name: str, project_id: str = "") -> Model:
        """The model that answers to `name` in a project; ModelNotFound when there is none.

        The name of what is found is the plain one where `name` says which version of a registered model is meant.
        """
        model = self._exact.get(name) or self._matched.get(name) or self._match(name)
        if model is None and (answer := self._registered.find(project_id, name)) is not None:
            model = self._answering(answer)
        if model is None:
            raise ModelNotFound(f"there is no model {name!r}; GET /v1/models lists those you may use", param="model")
        return model

    def knows(self, name: str) -> bool:
        """Whether there is a declared model that answers to `name`."""
        return name in self._exact or any(name.startswith(prefix) and name != prefix for prefix, _ in self._wildcards)

    def listed(self, project_id: str = "") -> list[Model]:
        """Every declared model, wildcards included, in the order of declaration, and then what a project registered."""
        declared = [*self._exact.values(), *(model for _, model in self._wildcards)]
        registered = [self._answering(answer) for answer in self._registered.of(project_id)]
        return declared + [model for model in registered if model is not None and not self.knows(model.name)]

    def names(self) -> list[str]:
        """What they are called."""
        return [model.name for model in self.listed()]

    def deployment_count(self) -> int:
        """One more than the highest index of a deployment."""
        return self._declared_count() + (0 if self._template is None else MAX_ANSWERING)

    def _declared_count(self) -> int:
        return sum(len(model.deployments) for model in self.listed())

    def _answering(self, answer: Answer) -> Model | None:
        """A version of a registered model as requests are routed to it."""
        template = self._template
        if template is None:
            return None
        place = msgspec.structs.replace(
            template.deployments[0],
            index=self._first_registered + answer.slot,
            model=answer.deployed,
            price=answer.price or FREE,
            priced=answer.price is not None,
        )
        cache = template.cache and msgspec.structs.replace(template.cache, tag=_tag((place,)))
        return msgspec.structs.replace(template, name=answer.name, task=answer.task, deployments=(place,), cache=cache)

    def _match(self, name: str) -> Model | None:
        for prefix, model in self._wildcards:
            if name.startswith(prefix) and len(name) > len(prefix):
                rest = name[len(prefix) :]
                if any(_leads_past_walls(place, rest) for place in model.deployments):
                    return None
                found = msgspec.structs.replace(
                    model,
                    name=name,
                    deployments=tuple(self._named(deployment, rest) for deployment in model.deployments),
                )
                if len(self._matched) >= _CACHED_WILDCARDS:
                    self._matched.clear()
                self._matched[name] = found
                return found
        return None

    def _named(self, place: Deployment, rest: str) -> Deployment:
        """A deployment of a wildcard as it is for the model that was asked for."""
        named = msgspec.structs.replace(place, model=place.model or rest)
        cost = self._costs.at_provider(named.provider, named.model) if place.unnamed_cost else None
        if cost is None:
            return named
        return msgspec.structs.replace(named, cost=cost, price=named.price if named.priced else cost)


def _leads_past_walls(place: Deployment, rest: str) -> bool:
    """Whether a wildcard would reach a project's registered model by the name that only our host knows it by."""
    return place.provider == LOCAL and not place.model and is_hosted(rest)


def build_catalog(
    models: Mapping[str, ModelSettings],
    capabilities: Mapping[str, Capabilities],
    unknown_cost: Tariff | None,
    costs: Costs = UnknownCosts(),  # noqa: B008  # it holds nothing
    registered: Answering = NothingRegistered(),  # noqa: B008  # it holds nothing
    template: ModelSettings | None = None,
    origins: Mapping[str, Origin] = {},
) -> Catalog:
    """Resolve the settings against what the providers can do; SettingsError names a deployment that cannot work.

    `costs` tells of those that nobody declared; `unknown_cost` stands in where it does not know either, and None
    refuses such calls. `template` is how the models are used that projects registered; None: not at all. `origins` says
    where models were declared, where that is not the file.
    """
    builder = _Builder(capabilities, unknown_cost, costs)
    built = {name: builder.model(name, model, origins.get(name, "file")) for name, model in models.items()}
    shared = None if template is None else builder.model(REGISTERED, template, "project")
    return Catalog(built, costs, registered, shared)


class _Builder:
    """Numbers deployments through, and looks their costs up."""

    def __init__(self, capabilities: Mapping[str, Capabilities], unknown_cost: Tariff | None, costs: Costs) -> None:
        self._capabilities = capabilities
        self._unknown_cost = unknown_cost
        self._costs = costs
        self._numbers = count()

    def model(self, name: str, model: ModelSettings, origin: Origin) -> Model:
        places = model.deployments
        if model.source is not None:
            places = (DeploymentSettings(provider=LOCAL, model=name),)
        price = tariff_of(model.price.listed()) if model.price else None
        deployments = tuple(self._deployment(name, model, place, price) for place in places)
        return Model(
            name,
            model.task,
            deployments,
            any_task=name.endswith("*"),
            strategy=model.routing.strategy,
            exploration=model.routing.exploration,
            widens=model.on_context_overflow == "larger",
            simple=len(deployments) == 1 and deployments[0].takes_all,
            guardrails=model.guardrails,
            cache=rules_of(model.cache, _tag(deployments)),
            declared_in=origin,
        )

    def _deployment(
        self, name: str, model: ModelSettings, place: DeploymentSettings, price: Tariff | None
    ) -> Deployment:
        able = self._capabilities[place.provider]
        if model.task not in able.tasks:
            raise SettingsError(f"models.{name}: the provider {place.provider!r} cannot do the task {model.task!r}")
        called = place.model or ("" if name.endswith("*") else name)
        cost = self._cost(name, place, called, able)
        return Deployment(
            index=next(self._numbers),
            provider=place.provider,
            model=called,
            weight=place.weight,
            priority=place.priority,
            context=place.limits.context,
            output=place.limits.output,
            cost=cost,
            price=price or cost,
            priced=price is not None,
            caller_keys=able.caller_keys,
            vision=place.capabilities.vision,
            tools=place.capabilities.tools,
            structured_output=place.capabilities.structured_output,
            region=place.region,
            hardware=place.hardware,
            tags=frozenset(place.tags),
            unnamed_cost=not called and cost is self._unknown_cost,
        )

    def _cost(self, name: str, place: DeploymentSettings, called: str, able: Capabilities) -> Tariff | None:
        if place.cost is not None:
            return tariff_of(place.cost.listed())
        if place.cost_as is not None:
            return self._cost_as(name, place.cost_as)
        if able.free:
            return FREE
        if not called:
            self._costs.get_ready(place.provider)
            return self._unknown_cost
        return self._costs.at_provider(place.provider, called) or self._unknown_cost

    def _cost_as(self, name: str, listed: str) -> Tariff:
        seller, _, model = listed.partition("/")
        cost = self._costs.at_seller(seller, model)
        if cost is None:
            raise SettingsError(f"models.{name}: cost_as: the catalogue of prices does not know {listed!r}")
        return cost


def _tag(deployments: Iterable[Deployment]) -> bytes:
    """Differs when others answer for a model."""
    names = "\n".join(f"{place.provider} {place.model}" for place in deployments)
    return blake2b(names.encode(), digest_size=8).digest()
