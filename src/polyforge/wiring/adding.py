"""What additions are made with: the adapters of providers, and the settings of this process."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, cast, get_args

from pydantic import BaseModel

from polyforge.egress.guarding import Guard, guarded
from polyforge.gateway.lineup import Lineups
from polyforge.kernel.errors import SettingsError
from polyforge.operations.additions.content import Additions, Key
from polyforge.operations.additions.keeping import Keeper
from polyforge.operations.additions.keys import ProviderKeys
from polyforge.operations.additions.models import AddedModels
from polyforge.operations.additions.providers import AddedProviders
from polyforge.operations.additions.trying import Trying
from polyforge.operations.additions.workshop import Checked, ProviderKind, Workshop
from polyforge.operations.configuration.content import Sections, mask
from polyforge.ports.provider import Provider
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.masking import MASK
from polyforge.tenancy.vault.declared import DeclaredSecrets
from polyforge.tenancy.vault.service import VaultService
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen, Settings
from polyforge.wiring.settings_file import SettingsFile, literals_of

_PATH: Final = "settings"
_LABEL_ENDS: Final = (":", ",", ".")


def guarded_provider(path: str, chosen: Chosen, connect_timeout: float, guard: Guard) -> Provider:
    """A provider that nobody vouches for; SettingsError begins with `path`."""
    adapter, settings = adapters.find("providers", path, chosen)
    try:
        with guarded(guard):
            return adapter(settings, connect_timeout)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}") from error


class ProviderWorkshop(Workshop):
    """Builds on trial what the API is asked to add."""

    def __init__(self, file: SettingsFile, settings: Settings) -> None:
        self._file = file
        self._connect_timeout = settings.gateway.timeouts.connect
        self.guard = Guard(settings.egress.allow)
        """Where what is added may connect to."""

    def kinds(self) -> list[ProviderKind]:
        """Every kind of provider, by name."""
        return self._kinds

    @cached_property
    def _kinds(self) -> list[ProviderKind]:
        return [_kind(name) for name in adapters.available("providers")]

    def declared(self, sections: Sections) -> dict[str, dict[str, Any]]:
        """What these sections amount to, with stars in place of secrets that are written out."""
        settings = self._file.settings(sections)
        providers = {name: chosen.model_dump(mode="json") for name, chosen in settings.providers.items()}
        models = {name: model.model_dump(mode="json", exclude_unset=True) for name, model in settings.models.items()}
        return mask({"providers": providers, "models": models}, literals_of(settings))

    def check(self, use: str, settings: Mapping[str, Any]) -> Checked:
        """Look at the settings of a provider; SettingsError names the wrong one."""
        _, found = adapters.find("providers", _PATH, _chosen(use, settings))
        references = {name: str(value) for name, value in found if isinstance(value, SecretRef)}
        literals = {name: settings[name] for name, shown in references.items() if shown == MASK}
        return Checked(literals, {name: shown for name, shown in references.items() if name not in literals})

    def provider(self, use: str, settings: Mapping[str, Any]) -> Provider:
        """One with these settings, not opened, that connects only to where it may; SettingsError as above."""
        return guarded_provider(_PATH, _chosen(use, settings), self._connect_timeout, self.guard)

    def trial(self, sections: Sections, added: Additions) -> Mapping[Key, str]:
        """What of the additions would be left out beside these sections, and why."""
        return self._file.build(sections, added).left_out


class AdditionPlatform:
    """The rooms of what the API adds."""

    def __init__(
        self,
        keeper: Keeper,
        workshop: ProviderWorkshop,
        vault: VaultService,
        lineups: Lineups,
        secrets: DeclaredSecrets,
    ) -> None:
        self.providers = AddedProviders(keeper, workshop, ProviderKeys(vault), workshop.guard)
        self.models = AddedModels(keeper)
        self.trying = Trying(self.providers, workshop, lineups, secrets, secrets.sync)


def _chosen(use: str, settings: Mapping[str, Any]) -> Chosen:
    return Chosen.model_validate({**settings, "use": use})


def _kind(name: str) -> ProviderKind:
    try:
        adapter = adapters.load("providers", _PATH, name)
    except SettingsError as error:
        return ProviderKind(name, name, "", {}, (), error.message.removeprefix(f"{_PATH}.use: "))
    settings = adapters.settings_class(adapter)
    description = adapters.about(adapter)
    secrets = tuple(_secrets(settings))
    return ProviderKind(name, _label(description), description, _schema(settings, secrets), secrets, None)


def _label(description: str) -> str:
    """What stands before the first comma, colon or full stop."""
    ends = [at for end in _LABEL_ENDS if (at := description.find(f"{end} ")) > 0]
    return description[: min(ends)] if ends else description.rstrip(".")


def _secrets(settings: type[BaseModel]) -> Iterator[str]:
    for name, field in settings.model_fields.items():
        if SecretRef in (field.annotation, *get_args(field.annotation)):
            yield name


def _schema(settings: type[BaseModel], secrets: tuple[str, ...]) -> dict[str, Any]:
    schema = settings.model_json_schema()
    for name in secrets:
        cast(dict[str, Any], schema["properties"][name]).update(writeOnly=True, format="password")
    return schema
