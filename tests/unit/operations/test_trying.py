"""Trying providers: what is asked of them, and what is told of their failures."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import pytest
from typing_extensions import AsyncGenerator

from polyforge.gateway.lineup import Lineups
from polyforge.kernel.errors import UpstreamDenied, UpstreamFailed
from polyforge.kernel.tasks import Dialect, Task
from polyforge.operations.additions import trying
from polyforge.operations.additions.providers import AddedProviders
from polyforge.operations.additions.trying import Tried, Trying
from polyforge.operations.additions.workshop import Checked, Workshop
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from tests.support.vault import Secrets
from tests.support.waiting import eventually_async

KEY = "a-key-in-no-special-form"


class Fake(Provider):
    """Does what a test says, and remembers what it was asked."""

    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({"chat"}), frozenset())

    def __init__(self, outcome: Exception | list[str] | None = None, *, hangs: bool = False) -> None:
        self.outcome = outcome
        self.hangs = hangs
        self.gate = asyncio.Event()
        self.calls: list[Call] = []
        self.opened = self.closed = False

    def able(self, tasks: set[Task], dialects: set[Dialect]) -> "Fake":
        self.__dict__["capabilities"] = Capabilities(frozenset(tasks), frozenset(dialects))
        return self

    async def open(self, secrets: SecretSource) -> None:
        self.opened = True

    async def close(self) -> None:
        self.closed = True

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        await self._come_out()
        return Reply(None, b"{}")

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        raise AssertionError("nobody streams here")

    async def models(self) -> list[str]:
        await self._come_out()
        return cast(list[str], self.outcome)

    async def _come_out(self) -> None:
        if self.hangs:
            await self.gate.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome


class Checks:
    """What stands for the service of providers: finds one key in all settings."""

    async def check(self, use: str, settings: Mapping[str, Any]) -> Checked:
        return Checked({"api_key": KEY}, {})


class Builds:
    """What stands for the workshop: has one provider."""

    def __init__(self, provider: Fake) -> None:
        self._provider = provider

    def provider(self, use: str, settings: Mapping[str, Any]) -> Provider:
        return self._provider


async def try_(provider: Fake, model: str | None = None) -> Tried:
    async def sync() -> None:
        assert provider.opened

    checks, builds = cast(AddedProviders, Checks()), cast(Workshop, Builds(provider))
    tried = await Trying(checks, builds, cast(Lineups, None), Secrets(), sync).new("fake", {}, model)
    assert provider.closed
    return tried


async def test_without_a_model_its_models_are_listed() -> None:
    tried = await try_(Fake(["a", "b"]))
    assert (tried.models, tried.error) == (["a", "b"], None)


async def test_no_more_models_are_told_than_fit_a_form() -> None:
    tried = await try_(Fake([str(number) for number in range(5_000)]))
    assert tried.models is not None
    assert len(tried.models) == 1_000


async def test_with_a_model_it_is_asked_for_few_words_in_a_form_that_it_takes() -> None:
    canonical, passing = Fake(), Fake().able({"chat"}, {"openai"})
    assert (await try_(canonical, "m")).error is None
    assert (await try_(passing, "m")).error is None
    (one,), (other,) = canonical.calls, passing.calls
    assert one.chat is not None
    assert one.chat.output_limit == one.output_limit == other.output_limit == 16
    assert other.chat is None
    assert (one.model, other.model) == ("m", "m")


async def test_who_has_no_chat_is_not_asked_for_words() -> None:
    provider = Fake().able({"embedding"}, {"openai"})
    tried = await try_(provider, "m")
    assert tried.error is not None
    assert (tried.error.code, provider.calls) == ("unsupported_parameter", [])


async def test_a_key_that_the_provider_repeats_is_not_told() -> None:
    tried = await try_(Fake(UpstreamDenied(f"wrong key {KEY}, see http://u:{KEY}@host")))
    assert KEY not in tried.message
    assert tried.message.startswith("wrong key ***")
    assert "key" in tried.hint


async def test_any_failure_has_a_hint() -> None:
    tried = await try_(Fake(UpstreamFailed("not JSON")))
    assert "check the address" in tried.hint


async def test_who_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "SECONDS", 0.01)
    tried = await try_(Fake(hangs=True))
    assert tried.error is not None
    assert tried.error.code == "timeout"


async def test_a_few_are_tried_at_a_time_and_the_others_wait() -> None:
    provider = Fake(hangs=True)
    checks, builds = cast(AddedProviders, Checks()), cast(Workshop, Builds(provider))

    async def sync() -> None:
        return

    all_of_them = Trying(checks, builds, cast(Lineups, None), Secrets(), sync)
    tries = [asyncio.create_task(all_of_them.new("fake", {}, "m")) for _ in range(9)]
    await eventually_async(lambda: len(provider.calls) == 4, "the first of them")
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(provider.calls) == 4
    provider.gate.set()
    assert all(each.error is None for each in await asyncio.gather(*tries))
    assert len(provider.calls) == 9
