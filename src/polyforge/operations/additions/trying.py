"""Trying a provider with one real, cheap call: which models it has, or a word from one of them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.egress.deadlines import Deadline
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.kernel.chat import ChatRequest
from polyforge.kernel.errors import (
    Conflict,
    NotConfigured,
    NotFound,
    PolyforgeError,
    RateLimited,
    SettingsError,
    TimedOut,
    Unavailable,
    Unsupported,
    UpstreamDenied,
    UpstreamRefused,
)
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.tasks import InferenceRequest
from polyforge.operations.additions.providers import AddedProviders
from polyforge.operations.additions.workshop import Workshop
from polyforge.ports.provider import Call, Provider, Timeouts
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.masking import MASK, mask_text

SECONDS: Final = 15.0
_AT_ONCE: Final = 4
_LOOKS: Final = 50
_LOOK_SECONDS: Final = 0.1
_MOST_MODELS: Final = 1_000
_LONGEST_MESSAGE: Final = 1_000
_OUTPUT: Final = 16
"""Tokens to ask for: some models answer nothing at all when they may say only one."""
_HINTS: Final[tuple[tuple[type[PolyforgeError], str], ...]] = (
    (UpstreamDenied, "The provider does not take the key: check that it is whole, and that its account may do this."),
    (RateLimited, "The key works, but its account has no room now: try again, or look at its quota."),
    (TimedOut, "Nothing answered in time: check the address, and whether a firewall stands between."),
    (NotConfigured, "Something has to be set first; the message says what."),
    (Unavailable, "The server cannot be reached: check the address and the port, and that it runs."),
    (Unsupported, "This provider lists no models: give the name of one to ask."),
    (NotFound, "The provider does not know this: check the address, with its version, and the name of the model."),
    (UpstreamRefused, "The provider was reached and refused the request: check the name of the model."),
    (SettingsError, "A setting is wrong; the message names it."),
)
_HINT: Final = "The server answers, but not as this kind of provider does: check the address and the kind."

Sync = Callable[[], Awaitable[None]]
"""Reads the secrets that were not asked for before."""


class Tried(msgspec.Struct, frozen=True):
    """What came of it."""

    seconds: float
    models: list[str] | None = None
    error: PolyforgeError | None = None
    message: str = ""
    """What went wrong, without secrets."""
    hint: str = ""


class Trying:
    """Tries providers, a few at a time."""

    def __init__(
        self, providers: AddedProviders, workshop: Workshop, lineups: Lineups, secrets: SecretSource, sync: Sync
    ) -> None:
        self._providers = providers
        self._workshop = workshop
        self._lineups = lineups
        self._secrets = secrets
        self._sync = sync
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def new(self, use: str, settings: Mapping[str, Any], model: str | None) -> Tried:
        """One that may not be there yet; Invalid for settings that no provider can have."""
        checked = await self._providers.check(use, settings)
        provider = await asyncio.to_thread(self._workshop.provider, use, settings)
        try:
            return await self._try(provider, model, list(checked.literals.values()), fresh=True)
        finally:
            await provider.close()

    async def known(self, name: str, model: str | None) -> Tried:
        """One that is there, as it is; NotFound when there is none, Conflict when it is left out."""
        lineup, provider = await self._in_force(name)
        lineup.calls += 1
        try:
            return await self._try(provider, model, [], fresh=False)
        finally:
            lineup.calls -= 1

    async def _in_force(self, name: str) -> tuple[Lineup, Provider]:
        """A provider, and what it serves in; one that was added just now is waited for."""
        shown = await self._providers.get(name)
        if shown.error is not None:
            raise Conflict(f"the provider {name!r} is left out: {shown.error}")
        for _ in range(_LOOKS):
            lineup = self._lineups.current
            provider = lineup.provider(name)
            if provider is not None:
                return lineup, provider
            await asyncio.sleep(_LOOK_SECONDS)
        raise Unavailable(f"the provider {name!r} is not in force yet; try again", retry_after=1.0)

    async def _try(self, provider: Provider, model: str | None, secrets: list[str], *, fresh: bool) -> Tried:
        started = Deadline.now()
        try:
            with Deadline(started + SECONDS, f"nothing answered within {SECONDS:g} seconds"):
                async with self._turns:
                    if fresh:
                        await provider.open(self._secrets)
                    await self._sync()
                    started = Deadline.now()
                    models = await _ask(provider, model)
        except PolyforgeError as error:
            hint = next((hint for kind, hint in _HINTS if isinstance(error, kind)), _HINT)
            return Tried(Deadline.now() - started, None, error, _masked(error.message, secrets), hint)
        return Tried(Deadline.now() - started, models)


async def _ask(provider: Provider, model: str | None) -> list[str] | None:
    if model is None:
        return (await provider.models())[:_MOST_MODELS]
    await provider.send(_call(provider, model))
    return None


def _call(provider: Provider, model: str) -> Call:
    able, now = provider.capabilities, Deadline.now()
    if "chat" not in able.tasks:
        raise Unsupported("this provider has no chat models to ask for a word; try it without a model")
    words = [{"role": "user", "content": "Say yes."}]
    body = json.dumps({"model": model, "messages": words}).encode()
    request = InferenceRequest("chat", "openai", model, body, output_limit=_OUTPUT, parts=1)
    chat: ChatRequest | None = None
    if "openai" not in able.dialects:
        chat = msgspec.structs.replace(read_chat(body), output_limit=_OUTPUT)
    timeouts = Timeouts(connect=SECONDS, first_token=SECONDS, idle=SECONDS, total=SECONDS)
    return Call(request, new_ulid(), model, _OUTPUT, timeouts, now, now + SECONDS, {}, chat)


def _masked(message: str, secrets: list[str]) -> str:
    for secret in secrets:
        message = message.replace(secret, MASK)
    return mask_text(message.encode()).decode()[:_LONGEST_MESSAGE]
