"""Keys of added providers: given in clear once, kept in the vault, and named by reference from then on."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from pydantic import SecretStr, ValidationError

from polyforge.kernel.errors import Invalid, NotFound
from polyforge.operations.additions.workshop import Checked
from polyforge.telemetry.masking import MASK, names_secret
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.vault.schemas import NewSecret, SecretChanges
from polyforge.tenancy.vault.service import VaultService

_REFERENCE: Final = "secret:"
_ELSEWHERE: Final = ("env:", "file:")
_DEEPEST: Final = 8


class ProviderKeys:
    """The secrets of added providers, which are the default organization's, as those that the file names."""

    def __init__(self, vault: VaultService) -> None:
        self._vault = vault

    async def keep(self, caller: Caller, secrets: Mapping[str, str]) -> None:
        """Keep these values under these names, instead of what was there."""
        for name, value in secrets.items():
            try:
                await self._vault.change(_keeper(caller), name, SecretChanges(value=SecretStr(value)))
            except NotFound:
                body = NewSecret(name=name, value=SecretStr(value), projects=[])
                await self._vault.create(_keeper(caller), body)

    async def forget(self, caller: Caller, names: set[str]) -> None:
        """Take these away, as far as they are there."""
        for name in sorted(names):
            try:
                await self._vault.remove(_keeper(caller), name)
            except NotFound:
                continue


def _keeper(caller: Caller) -> Caller:
    return msgspec.structs.replace(caller, organization_id=DEFAULT_ORGANIZATION_ID)


def check_secrets(settings: Mapping[str, Any], checked: Checked) -> None:
    """Invalid for a secret that cannot be kept as one, or that lies where only the file may point."""
    for field, reference in checked.references.items():
        if reference.startswith(_ELSEWHERE):
            raise Invalid(
                "`env:` and `file:` are for polyforge.yaml; give the key itself, or `secret:name`",
                param=f"settings.{field}",
            )
    for field, value in checked.literals.items():
        if MASK in value:
            raise Invalid("these are stars; give the key itself, or `secret:name`", param=f"settings.{field}")
        _check_size(field, value)
    known = {*checked.literals, *checked.references}
    for path in _named_secrets({name: value for name, value in settings.items() if name not in known}):
        raise Invalid("a secret cannot be kept here; give it as the provider's key", param=f"settings.{path}")


def _check_size(field: str, value: str) -> None:
    try:
        NewSecret(name="size", value=SecretStr(value))
    except ValidationError as error:
        raise Invalid(error.errors()[0]["msg"].removeprefix("Value error, "), param=f"settings.{field}") from None


def _named_secrets(values: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[str]:
    """Paths of texts whose names say secret."""
    for name, value in values.items():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _named_secrets(cast(Mapping[str, Any], value), here, depth + 1)
        elif isinstance(value, str) and names_secret(str(name)):
            yield here


def with_references(provider: str, settings: Mapping[str, Any], checked: Checked) -> dict[str, Any]:
    """The settings with a reference in place of each secret that is written out."""
    return {**settings, **{field: f"{_REFERENCE}{secret_name(provider, field)}" for field in checked.literals}}


def secret_name(provider: str, field: str) -> str:
    """What the vault calls the secret of a field."""
    return f"providers.{provider}.{field}"


def own_secrets(provider: str, settings: Mapping[str, Any]) -> set[str]:
    """Names of the secrets that were kept for these settings."""
    return {
        secret_name(provider, field)
        for field, value in settings.items()
        if value == f"{_REFERENCE}{secret_name(provider, field)}"
    }
