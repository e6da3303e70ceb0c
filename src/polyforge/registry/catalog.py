"""Which models there are and what can answer for each, resolved once from the settings."""

from collections.abc import Mapping
from itertools import count

import msgspec

from polyforge.kernel.errors import Invalid, ModelNotFound, SettingsError
from polyforge.kernel.tasks import Task
from polyforge.ports.provider import KEY_HEADER, Capabilities
from polyforge.registry.settings import DeploymentSettings, ModelSettings
from polyforge.registry.tariffs import FREE, Tariff, tariff_of

LOCAL = "local"
"""The provider that is our own model host."""
_CACHED_WILDCARDS = 10_000


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


class Model(msgspec.Struct, frozen=True, gc=False):
    """A name that callers use."""

    name: str
    task: Task
    deployments: tuple[Deployment, ...]
    any_task: bool = False
    """A wildcard: whatever its providers can do."""

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
    """Every model by name. Names that end in `/*` stand for every model behind that prefix."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._exact = {name: model for name, model in models.items() if not name.endswith("*")}
        wildcards = [(name[:-1], model) for name, model in models.items() if name.endswith("*")]
        self._wildcards = sorted(wildcards, key=lambda pair: len(pair[0]), reverse=True)
        self._matched: dict[str, Model] = {}

    def find(self, name: str) -> Model:
        """The model that answers to `name`; ModelNotFound when there is none."""
        model = self._exact.get(name) or self._matched.get(name) or self._match(name)
        if model is None:
            raise ModelNotFound(f"there is no model {name!r}; GET /v1/models lists those you may use", param="model")
        return model

    def listed(self) -> list[Model]:
        """Every declared model, wildcards included, in the order of declaration."""
        return [*self._exact.values(), *(model for _, model in self._wildcards)]

    def names(self) -> list[str]:
        """What they are called."""
        return [model.name for model in self.listed()]

    def deployment_count(self) -> int:
        """One more than the highest index of a deployment."""
        return sum(len(model.deployments) for model in self.listed())

    def _match(self, name: str) -> Model | None:
        for prefix, model in self._wildcards:
            if name.startswith(prefix) and len(name) > len(prefix):
                rest = name[len(prefix) :]
                found = msgspec.structs.replace(
                    model,
                    name=name,
                    deployments=tuple(
                        msgspec.structs.replace(deployment, model=deployment.model or rest)
                        for deployment in model.deployments
                    ),
                )
                if len(self._matched) < _CACHED_WILDCARDS:
                    self._matched[name] = found
                return found
        return None


def build_catalog(
    models: Mapping[str, ModelSettings], capabilities: Mapping[str, Capabilities], unknown_cost: Tariff | None
) -> Catalog:
    """Resolve the settings against what the providers can do; SettingsError names a deployment that cannot work.

    `unknown_cost` stands in where nobody declared a cost; None refuses such calls.
    """
    numbers = count()
    return Catalog({name: _model(name, model, capabilities, unknown_cost, numbers) for name, model in models.items()})


def _model(
    name: str,
    model: ModelSettings,
    capabilities: Mapping[str, Capabilities],
    unknown_cost: Tariff | None,
    numbers: "count[int]",
) -> Model:
    places = model.deployments
    if model.source is not None:
        places = (DeploymentSettings(provider=LOCAL, model=name),)
    price = tariff_of(model.price) if model.price else None
    deployments: list[Deployment] = []
    for place in places:
        able = capabilities[place.provider]
        if model.task not in able.tasks:
            raise SettingsError(f"models.{name}: the provider {place.provider!r} cannot do the task {model.task!r}")
        cost = tariff_of(place.cost) if place.cost else (FREE if able.free else unknown_cost)
        deployments.append(_deployment(name, place, cost, price, next(numbers), able.caller_keys))
    return Model(name, model.task, tuple(deployments), any_task=name.endswith("*"))


def _deployment(
    name: str, place: DeploymentSettings, cost: Tariff | None, price: Tariff | None, index: int, caller_keys: bool
) -> Deployment:
    return Deployment(
        index=index,
        provider=place.provider,
        model=place.model or ("" if name.endswith("*") else name),
        weight=place.weight,
        priority=place.priority,
        context=place.limits.context,
        output=place.limits.output,
        cost=cost,
        price=price or cost,
        priced=price is not None,
        caller_keys=caller_keys,
    )
