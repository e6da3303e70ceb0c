"""What every catalogue of prices does, and what is particular to each."""

import json
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from polyforge.adapters.price_catalogs import file, genai_prices
from polyforge.kernel.errors import SettingsError
from polyforge.kernel.usage import Usage
from polyforge.ports.price_catalog import PriceCatalog
from polyforge.registry.tariffs import Tariff, tariff_of

AT = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
MILLION = 1_000_000


@pytest.fixture(params=["file", "genai_prices"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> PriceCatalog:
    if request.param == "genai_prices":
        return genai_prices.GenaiPrices(genai_prices.Settings())
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"openai": {"gpt-4o-mini": {"input": 0.15, "cached_input": 0.075, "output": 0.6}}}))
    return file.FilePrices(file.Settings(path=path))


def tariff(catalogue: PriceCatalog, seller: str, model: str) -> Tariff:
    found = catalogue.find(seller, model, AT)
    assert found is not None
    return tariff_of(found, catalogue.edition)


def test_it_finds_what_a_seller_charges_and_says_which_edition_that_is(catalogue: PriceCatalog) -> None:
    found = tariff(catalogue, "openai", "gpt-4o-mini")
    assert found.price(Usage(input=MILLION)) == 150_000
    assert found.price(Usage(cache_read=MILLION)) == 75_000
    assert found.price(Usage(output=MILLION)) == 600_000
    assert found.origin == catalogue.edition
    assert any(character.isdigit() for character in catalogue.edition)


@pytest.mark.parametrize(
    ("seller", "model"),
    [("openai", "no-such-model"), ("nobody", "gpt-4o-mini"), ("", ""), ("http://[", "x"), ("openai", "x" * 10_000)],
)
def test_what_is_not_listed_has_no_price(catalogue: PriceCatalog, seller: str, model: str) -> None:
    assert catalogue.find(seller, model, AT) is None


@pytest.fixture(scope="module")
def published() -> PriceCatalog:
    return genai_prices.GenaiPrices(genai_prices.Settings())


@pytest.mark.parametrize(
    ("seller", "model", "usage", "micros"),
    [
        # https://platform.claude.com/docs/en/about-claude/pricing
        ("anthropic", "claude-haiku-4-5", Usage(input=MILLION), 1_000_000),
        ("anthropic", "claude-haiku-4-5", Usage(output=MILLION), 5_000_000),
        ("anthropic", "claude-haiku-4-5", Usage(cache_read=MILLION), 100_000),
        ("anthropic", "claude-haiku-4-5", Usage(cache_write=MILLION), 1_250_000),
        # https://ai.google.dev/gemini-api/docs/pricing: dearer above 200,000 tokens of prompt, and all of it
        ("google", "gemini-2.5-pro", Usage(input=200_000, output=MILLION), 250_000 + 10_000_000),
        ("google", "gemini-2.5-pro", Usage(input=200_001, output=MILLION), 500_003 + 15_000_000),
        ("google", "gemini-2.5-pro", Usage(input=1, cache_read=200_000), 50_003),
        # https://platform.openai.com/docs/pricing
        ("openai", "text-embedding-3-small", Usage(input=MILLION), 20_000),
        ("openai", "whisper-1", Usage(milliseconds=60_000), 6_000),
        ("openai", "gpt-image-1", Usage(input=MILLION, image_input=MILLION), 10_000_000),
        # https://aws.amazon.com/bedrock/pricing/
        ("aws", "anthropic.claude-3-5-sonnet-20241022-v2:0", Usage(input=MILLION, output=MILLION), 18_000_000),
        # A seller that is known by the address of its API.
        ("https://api.openai.com/v1", "gpt-4o-mini", Usage(input=MILLION), 150_000),
        # One seller's model at another.
        ("azure", "gpt-4o", Usage(input=MILLION, output=MILLION), 12_500_000),
    ],
)
def test_published_examples(published: PriceCatalog, seller: str, model: str, usage: Usage, micros: int) -> None:
    assert tariff(published, seller, model).price(usage) == micros


def test_batches_cost_what_is_published_for_them(published: PriceCatalog) -> None:
    found = tariff(published, "anthropic", "claude-haiku-4-5")
    usage = Usage(input=MILLION, cache_read=MILLION, output=MILLION)
    assert (found.price(usage), found.price(usage, batch=True)) == (6_100_000, 3_050_000)
    plain = tariff(published, "openai", "text-embedding-3-small")
    assert plain.price(usage, batch=True) <= plain.price(usage)


def test_every_listed_price_makes_a_tariff_whose_bound_holds(published: PriceCatalog) -> None:
    assert isinstance(published, genai_prices.GenaiPrices)
    usage = Usage(input=150_000, cache_read=100_000, cache_write=10_000, output=5_000, reasoning=2_000, image_input=10)
    counted = 0
    for provider in genai_prices.providers:
        for model in provider.models:
            found = published.find(provider.id, model.id, AT)
            if found is None:
                continue
            counted += 1
            rates = tariff_of(found)
            assert 0 <= rates.price(usage) <= rates.bound(usage.input_total, usage.output), (provider.id, model.id)
    assert counted > 1_000


def test_it_asks_nobody(published: PriceCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the catalogue wants to talk to somebody")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert published.find("openai", "gpt-4o-mini", AT) is not None
    assert published.find("openai", "what-is-this", AT) is None


def test_a_file_that_is_no_list_of_prices_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    with pytest.raises(SettingsError, match="cannot read"):
        file.FilePrices(file.Settings(path=path))
    for content in ("", "[]", '{"openai": {"m": {"input": "much"}}}', '{"openai": 1}', "\ud800"):
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(SettingsError, match="no list of prices"):
            file.FilePrices(file.Settings(path=path))
