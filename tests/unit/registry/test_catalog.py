"""What models cost, which exist, and what answers for them."""

import pytest
from pydantic import ValidationError

from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Invalid, ModelNotFound, SettingsError
from polyforge.kernel.prices import PriceList
from polyforge.kernel.usage import Usage
from polyforge.ports.price_catalog import PriceCatalog
from polyforge.ports.provider import Capabilities
from polyforge.registry.catalog import Catalog, build_catalog
from polyforge.registry.costs import PublishedCosts
from polyforge.registry.settings import ModelSettings, Prices
from polyforge.registry.tariffs import ESTIMATED, FREE, Tariff, tariff_of

CHAT = Capabilities(
    tasks=frozenset({"chat", "completion", "embedding"}), dialects=frozenset({"openai"}), caller_keys=True
)
OWN = Capabilities(tasks=frozenset({"embedding"}), dialects=frozenset(), free=True)
GUESS = Tariff(input=5_000_000, output=15_000_000, origin=ESTIMATED)


def catalog(models: dict[str, object], unknown: Tariff | None = GUESS) -> Catalog:
    read = {name: ModelSettings.model_validate(model) for name, model in models.items()}
    return build_catalog(read, {"openai": CHAT, "lab": CHAT, "local": OWN}, unknown)


def test_prices_are_exact_and_rounded_up_once() -> None:
    tariff = tariff_of(Prices(input=0.15, cached_input=0.075, output=0.60, per_call=0.01).listed())
    usage = Usage(input=1_000, cache_read=2_000, cache_write=10, output=501)
    exact = 10_000 + 150 + 150 + 1.5 + 300.6
    assert exact <= tariff.price(usage) < exact + 1
    assert tariff.price(Usage()) == 10_000
    assert tariff.bound(3_010, 501) >= tariff.price(usage)


def test_affordable_output_never_costs_more_than_the_amount() -> None:
    tariff = tariff_of(Prices(input=1, output=3).listed())
    tokens = tariff.affordable_output(100, 1_000)
    assert tokens is not None
    assert tariff.bound(100, tokens) <= 1_000 < tariff.bound(100, tokens + 1)
    assert tariff_of(Prices(per_call=1).listed()).affordable_output(1, 1) is None
    assert tariff.affordable_output(100, 99) == -1


def test_a_rate_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="names no rate"):
        Prices()


def test_wildcards_stand_for_every_model_of_a_provider() -> None:
    models = catalog({"openai/*": {"deployments": [{"provider": "openai"}]}})
    found = models.find("openai/gpt-4o-mini")
    assert (found.name, found.deployments[0].model) == ("openai/gpt-4o-mini", "gpt-4o-mini")
    assert found.does("embedding")
    with pytest.raises(ModelNotFound):
        models.find("openai/")
    with pytest.raises(ModelNotFound):
        models.find("gpt-4o-mini")


def test_an_exact_name_wins_over_a_wildcard_and_the_longer_wildcard_over_the_shorter() -> None:
    place = {"deployments": [{"provider": "openai", "model": "exact"}]}
    models = catalog(
        {
            "a/*": {"deployments": [{"provider": "openai", "model": "short"}]},
            "a/b/*": {"deployments": [{"provider": "openai", "model": "long"}]},
            "a/b/c": place,
        }
    )
    assert models.find("a/b/c").deployments[0].model == "exact"
    assert models.find("a/b/d").deployments[0].model == "long"
    assert models.find("a/x").deployments[0].model == "short"


def test_costs_declared_free_or_unknown() -> None:
    models = catalog(
        {
            "own": {"task": "embedding", "source": "file:///x"},
            "unknown": {"deployments": [{"provider": "openai"}]},
            "sold": {"deployments": [{"provider": "openai", "cost": {"input": 1}}], "price": {"input": 2}},
        }
    )
    assert models.find("own").deployments[0].cost == FREE
    assert models.find("unknown").deployments[0].price == GUESS
    sold = models.find("sold").deployments[0]
    assert sold.cost is not None
    assert sold.price is not None
    assert (sold.cost.input, sold.price.input) == (1_000_000, 2_000_000)
    refused = catalog({"unknown": {"deployments": [{"provider": "openai"}]}}, unknown=None)
    assert refused.find("unknown").deployments[0].price is None


def test_a_task_that_the_provider_cannot_do_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match=r"models\.ears: .*transcription"):
        catalog({"ears": {"task": "transcription", "deployments": [{"provider": "openai"}]}})


def test_a_model_needs_one_origin() -> None:
    with pytest.raises(ValidationError, match="either deployments or a source"):
        ModelSettings.model_validate({"task": "chat"})


def test_for_a_caller_with_a_key_a_model_is_at_its_owner_only_and_costs_us_nothing() -> None:
    first = {"provider": "openai", "cost": {"input": 1}}
    models = catalog(
        {
            "sold": {"deployments": [first, {"provider": "lab"}, {**first, "model": "b"}], "price": {"input": 2}},
            "unsold/*": {"deployments": [first]},
            "unknown": {"deployments": [{"provider": "openai"}]},
            "own": {"task": "embedding", "source": "file:///x"},
        },
        unknown=None,
    )
    sold = models.find("sold").with_callers_key()
    assert [(place.provider, place.model) for place in sold.deployments] == [("openai", "sold"), ("openai", "b")]
    kept = {place.index for place in models.find("sold").deployments if place.provider == "openai"}
    assert {place.index for place in sold.deployments} == kept
    assert {place.cost for place in sold.deployments} == {FREE}
    assert {place.price for place in sold.deployments} == {models.find("sold").deployments[0].price}
    for name in ("unsold/a", "unknown"):
        (place,) = models.find(name).with_callers_key().deployments
        assert (place.cost, place.price) == (FREE, FREE)
    with pytest.raises(Invalid, match="takes no key of a caller"):
        models.find("own").with_callers_key()


class Listed:
    """A catalogue that lists one model of one seller."""

    edition = "list 7"

    def find(self, seller: str, model: str, at: float) -> PriceList | None:
        self.asked = (seller, model, at)
        return PriceList(input=2, output=4) if (seller, model) == ("openai", "gpt") else None


def published(sellers: dict[str, str], loads: list[Listed]) -> PublishedCosts:
    catalogue = Listed()

    def load() -> PriceCatalog:
        loads.append(catalogue)
        return catalogue

    return PublishedCosts(load, sellers, FakeClock())


def read(models: dict[str, object]) -> dict[str, ModelSettings]:
    return {name: ModelSettings.model_validate(model) for name, model in models.items()}


def test_what_nobody_declared_costs_what_is_published() -> None:
    models = read(
        {
            "a": {"deployments": [{"provider": "openai", "model": "gpt"}]},
            "b": {"deployments": [{"provider": "openai", "model": "gpt", "cost": {"input": 1}}]},
            "c": {"deployments": [{"provider": "openai", "model": "other"}]},
            "d": {
                "deployments": [{"provider": "lab", "model": "mine", "cost_as": "openai/gpt"}],
                "price": {"input": 9},
            },
            "e": {"task": "embedding", "source": "file:///x"},
        }
    )
    costs = published({"openai": "openai"}, [])
    found = build_catalog(models, {"openai": CHAT, "lab": CHAT, "local": OWN}, GUESS, costs)
    tariffs = {name: found.find(name).deployments[0].cost for name in models}
    assert {name: tariff.origin if tariff else None for name, tariff in tariffs.items()} == {
        "a": "catalogue list 7",
        "b": "declared",
        "c": "estimated",
        "d": "catalogue list 7",
        "e": "own machines",
    }
    assert tariffs["a"] is not None
    assert tariffs["a"].price(Usage(input=1_000_000, output=1_000_000)) == 6_000_000
    priced = found.find("d").deployments[0].price
    assert priced is not None
    assert priced.origin == "declared"


def test_a_wildcard_costs_what_the_model_that_it_matched_does() -> None:
    loads: list[Listed] = []
    models = read(
        {
            "o/*": {"deployments": [{"provider": "openai"}]},
            "sold/*": {"deployments": [{"provider": "openai"}], "price": {"input": 9}},
        }
    )
    found = build_catalog(models, {"openai": CHAT}, None, published({"openai": "openai"}, loads))
    assert loads, "it is loaded before the first request"
    place = found.find("o/gpt").deployments[0]
    assert place.cost is not None
    assert (place.cost.origin, place.price) == ("catalogue list 7", place.cost)
    assert found.find("o/gpt") is found.find("o/gpt")
    assert found.find("o/other").deployments[0].price is None
    sold = found.find("sold/gpt").deployments[0]
    assert (sold.cost, sold.price and sold.price.origin) == (place.cost, "declared")


def test_nobody_loads_a_catalogue_that_is_of_no_use() -> None:
    loads: list[Listed] = []
    models = read(
        {
            "lab/*": {"deployments": [{"provider": "lab"}]},
            "a": {"deployments": [{"provider": "openai", "cost": {"input": 1}}]},
            "e": {"task": "embedding", "source": "file:///x"},
        }
    )
    build_catalog(models, {"openai": CHAT, "lab": CHAT, "local": OWN}, GUESS, published({"openai": "openai"}, loads))
    assert not loads


def test_a_cost_that_the_catalogue_does_not_know_is_refused_at_start() -> None:
    models = read({"a": {"deployments": [{"provider": "lab", "cost_as": "openai/nothing"}]}})
    with pytest.raises(SettingsError, match=r"models\.a: cost_as: .*openai/nothing"):
        build_catalog(models, {"lab": CHAT}, GUESS, published({}, []))


@pytest.mark.parametrize("unknown", [["x y"], [""], ["-a"], ["a" * 65]])
def test_tags_are_labels(unknown: list[str]) -> None:
    with pytest.raises(ValidationError):
        read({"a": {"deployments": [{"provider": "lab", "tags": unknown}]}})
