"""Providers that are added over the API, on behalf of a caller."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from polyforge.egress.guarding import Guard
from polyforge.kernel.errors import Conflict, Denied, Invalid, PolyforgeError, SettingsError, Unavailable
from polyforge.operations.additions.keeping import Keeper, Shown, providers_of
from polyforge.operations.additions.keys import ProviderKeys, check_secrets, own_secrets, secret_name, with_references
from polyforge.operations.additions.schemas import NewProvider, ProviderBody
from polyforge.operations.additions.store import AdditionRow
from polyforge.operations.additions.workshop import Checked, ProviderKind, Workshop
from polyforge.registry.catalog import LOCAL
from polyforge.tenancy.callers import Caller

_PORTS = {"http": 80, "https": 443}


class AddedProviders:
    """Shows providers, and adds, changes and removes some."""

    def __init__(self, keeper: Keeper, workshop: Workshop, keys: ProviderKeys, guard: Guard) -> None:
        self._keeper = keeper
        self._workshop = workshop
        self._keys = keys
        self._guard = guard

    async def kinds(self) -> list[ProviderKind]:
        """Every kind of provider."""
        return await asyncio.to_thread(self._workshop.kinds)

    async def all(self) -> list[Shown]:
        """Every provider, by name."""
        return await self._keeper.all("provider")

    async def get(self, name: str) -> Shown:
        """One of them, the one of the file first; NotFound when there is none."""
        return await self._keeper.one("provider", name)

    async def users(self) -> dict[str, list[str]]:
        """By provider, the models that have a deployment there."""
        models = await self._keeper.declared("model")
        models = {row.name: row.value for row in await self._keeper.rows() if row.kind == "model"} | models
        found: dict[str, list[str]] = {}
        for name, model in sorted(models.items()):
            for provider in dict.fromkeys(providers_of(model)):
                found.setdefault(provider, []).append(name)
        return found

    async def add(self, caller: Caller, body: NewProvider) -> Shown:
        """One more; Invalid names a field that cannot be, Conflict a name that is taken."""
        if body.name == LOCAL:
            raise Conflict(f"{LOCAL!r} is our own model host; choose another name", param="name")
        await self._keeper.must_be_added("provider", body.name)
        checked = await self.check(body.use, body.settings)
        return self._keeper.shown(await self._add(caller, body.name, _content(body.name, body, checked), checked))

    async def change(self, caller: Caller, name: str, body: ProviderBody) -> Shown:
        """Make it what `body` says, all of it; NotFound when it was not added."""
        await self._keeper.must_be_added("provider", name)
        before = await self._keeper.get("provider", name)
        checked = await self.check(body.use, body.settings)
        content = _content(name, body, checked)
        if checked.literals:
            # A change that is refused must not have changed the key.
            await self._keeper.try_out("provider", name, content)
            await self._keep(caller, name, checked)
        row = await self._keeper.put(caller, "provider", name, content, new=False)
        await self._keys.forget(caller, own_secrets(name, before.value) - own_secrets(name, content))
        return self._keeper.shown(row)

    async def remove(self, caller: Caller, name: str) -> None:
        """Take it away with the keys that were kept for it; Conflict while models use it."""
        row = await self._keeper.remove(caller, "provider", name)
        await self._keys.forget(caller, own_secrets(name, row.value))

    async def check(self, use: str, settings: Mapping[str, Any]) -> Checked:
        """Refuse what no provider may be that the API gives: Invalid names the field."""
        if "use" in settings:
            raise Invalid("stands beside the settings, not in them", param="settings.use")
        try:
            checked = await asyncio.to_thread(self._workshop.check, use, settings)
            check_secrets(settings, checked)
            await self._check_addresses(settings, {*checked.literals, *checked.references})
            await asyncio.to_thread(self._workshop.provider, use, settings)
        except SettingsError as error:
            raise _refusal(error) from error
        return checked

    async def _add(self, caller: Caller, name: str, content: dict[str, Any], checked: Checked) -> AdditionRow:
        """The row comes first: it is what tells whether the name, and with it those of its keys, is free."""
        row = await self._keeper.put(caller, "provider", name, content, new=True)
        try:
            await self._keep(caller, name, checked)
        except PolyforgeError:
            await self._keeper.remove(caller, "provider", name)
            raise
        return row

    async def _keep(self, caller: Caller, name: str, checked: Checked) -> None:
        await self._keys.keep(caller, {secret_name(name, field): value for field, value in checked.literals.items()})

    async def _check_addresses(self, settings: Mapping[str, Any], secrets: set[str]) -> None:
        for field, value in settings.items():
            if field in secrets or not isinstance(value, str) or "://" not in value:
                continue
            param, parts = f"settings.{field}", urlsplit(value)
            if parts.username is not None or parts.password is not None:
                raise Invalid("an address cannot hold a user or a password here", param=param)
            await self._check_host(parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443), param)

    async def _check_host(self, host: str, port: int, param: str) -> None:
        """A name that means nothing yet may come to: what it means is looked at again with each connection."""
        try:
            await self._guard.address(host, port)
        except Denied as error:
            raise Invalid(error.message, param=param) from error
        except Unavailable:
            return


def _content(name: str, body: ProviderBody, checked: Checked) -> dict[str, Any]:
    return {**with_references(name, body.settings, checked), "use": body.use}


def _refusal(error: PolyforgeError) -> Invalid:
    """The same for who gave the settings: it names their field."""
    path, colon, message = error.message.partition(": ")
    if not colon or not path.startswith("settings"):
        return Invalid(error.message, param="settings")
    return Invalid(message, param="use" if path == "settings.use" else path)
