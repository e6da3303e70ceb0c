"""What calls come to: kinds of tokens, units, tiers, batches; and that a bound is never too low."""

from fractions import Fraction
from math import ceil
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from polyforge.kernel.prices import PriceList, Rates
from polyforge.kernel.usage import Usage
from polyforge.registry.settings import Prices
from polyforge.registry.tariffs import Tariff, tariff_of

MILLION = 1_000_000
rate = st.none() | st.integers(0, 10_000).map(lambda milli: milli / 1000)


def rates(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict.fromkeys(names, rate))


NAMES = Rates.__struct_fields__
usages = st.builds(
    lambda plain, read, written, output, heard, seen, thought, spoken, images, milliseconds, characters: Usage(
        input=plain + heard + seen,
        cache_read=read,
        cache_write=written,
        output=output + thought + spoken,
        reasoning=thought,
        audio_input=heard,
        audio_output=spoken,
        image_input=seen,
        images=images,
        milliseconds=milliseconds,
        characters=characters,
    ),
    *[st.integers(0, 300_000)] * 8,
    *[st.integers(0, 5_000)] * 3,
)


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    above = draw(st.lists(st.integers(1, 600_000), max_size=3, unique=True))
    tiers = [{**draw(rates(NAMES)), "above": start} for start in above]
    batch = draw(st.none() | rates(NAMES))
    return msgspec.convert({**draw(rates(NAMES)), "tiers": tiers, "batch": batch}, PriceList)


def tariff(**rates: Any) -> Tariff:
    return tariff_of(Prices.model_validate(rates).listed())


def test_kinds_of_tokens_cost_their_own_rate_or_what_their_like_do() -> None:
    plain = tariff(input=1, output=2)
    usage = Usage(input=MILLION, output=MILLION, reasoning=MILLION, audio_input=MILLION)
    assert plain.price(usage) == 3_000_000
    kinds = tariff(input=1, output=2, reasoning=3, audio_input=10, audio_output=20, image_input=0.5)
    assert kinds.price(usage) == 13_000_000
    assert kinds.price(Usage(input=MILLION, image_input=MILLION)) == 500_000
    assert kinds.price(Usage(output=MILLION, audio_output=MILLION // 2)) == 11_000_000


def test_units_that_are_no_tokens() -> None:
    assert tariff(per_image=0.04).price(Usage(images=3)) == 120_000
    assert tariff(per_second=0.0001).price(Usage(milliseconds=60_000)) == 6_000
    assert tariff(per_character=0.000015).price(Usage(characters=1_000)) == 15_000
    assert tariff(per_second=0.0001).bound(10, 10, Usage(milliseconds=60_000)) == 6_000


def test_a_long_prompt_makes_all_of_the_call_dearer() -> None:
    tiered = tariff(input=1, cached_input=0.1, output=2, tiers=[{"above": 200_000, "input": 2, "output": 3}])
    assert tiered.price(Usage(input=200_000, output=MILLION)) == 200_000 + 2_000_000
    assert tiered.price(Usage(input=200_001, output=MILLION)) == 400_002 + 3_000_000
    assert tiered.price(Usage(input=1, cache_read=200_000)) == 2 + 20_000


def test_a_batch_costs_what_is_named_for_it_and_else_the_same() -> None:
    half = tariff(input=1, cached_input=0.1, output=2, batch={"input": 0.5, "output": 1})
    usage = Usage(input=MILLION, cache_read=MILLION, output=MILLION)
    assert (half.price(usage), half.price(usage, batch=True)) == (3_100_000, 1_600_000)
    assert tariff(input=1).price(usage, batch=True) == 3_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": {"input": 1}},
        {"tiers": []},
        {"input": 1, "tiers": [{"above": 5}]},
        {"input": 1, "tiers": [{"input": 1}]},
        {"input": -1},
        {"input": 1, "batch": {"input": 1, "batch": {"input": 1}}},
    ],
)
def test_prices_that_say_nothing_or_nonsense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Prices.model_validate(wrong)


@given(price_lists(), usages, st.integers(0, 1_000), st.integers(0, 1_000))
def test_a_bound_is_never_below_the_price(prices: PriceList, usage: Usage, more: int, further: int) -> None:
    found = tariff_of(prices)
    assert 0 <= found.price(usage) <= found.bound(usage.input_total + more, usage.output + further, usage)


@given(price_lists(), usages, st.integers(0, 10_000_000))
def test_what_is_affordable_stays_within_the_amount(prices: PriceList, usage: Usage, amount: int) -> None:
    found = tariff_of(prices)
    tokens = found.affordable_output(usage.input_total, amount, usage)
    if tokens is not None and tokens >= 0:
        assert found.bound(usage.input_total, tokens, usage) <= amount


@given(rates(("input", "cached_input", "cache_write", "output")), usages)
def test_prices_are_exact_and_rounded_up_once(declared: dict[str, Any], usage: Usage) -> None:
    found = tariff_of(msgspec.convert(declared, PriceList))
    plain = Fraction(str(declared["input"] or 0))

    def of(name: str) -> Fraction:
        return plain if declared[name] is None else Fraction(str(declared[name]))

    exact = usage.input * plain + usage.cache_read * of("cached_input")
    exact += usage.cache_write * of("cache_write") + usage.output * of("output")
    assert found.price(usage) == ceil(exact)
