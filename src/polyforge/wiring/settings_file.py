"""polyforge.yaml while the platform runs: what of it can be taken, and what it amounts to in this process."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from polyforge.gateway.lineup import Lineup
from polyforge.kernel.errors import SettingsError
from polyforge.operations.additions.content import NOTHING_ADDED, SECTION, Additions, Key
from polyforge.operations.configuration.content import SECTIONS, Path, sections_of
from polyforge.operations.configuration.source import Built, Declared, Source
from polyforge.registry.settings import HOSTING, ModelSettings
from polyforge.secrets.references import SecretRef
from polyforge.serving.sources import model_sources
from polyforge.telemetry.logs import get_logger
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen, Settings, compose, parse, read_file
from polyforge.wiring.starting import Stamp, Start, keep, stamp_of

_MOST_DIFFERENCES: Final = 100
_BROKE: Final = "something in what was added could not be built; the log says more"
_log = get_logger(__name__)

Build = Callable[[Settings, Additions], Lineup]
"""What serves the models and providers of some settings, which hold these additions; SettingsError when it cannot."""


class SettingsFile(Source):
    """The file that this process began with, and what `build` makes of what it declares."""

    def __init__(self, start: Start, build: Build) -> None:
        self._start = start
        self._build = build

    def first(self) -> Declared | None:
        """What the file declared when this process began; None when there was none, or it could not be used."""
        start = self._start
        if start.stamp is None:
            return None
        sections = sections_of(start.declared)
        return Declared(sections, literals_of(start.settings), (), start.changed_at)

    def stamp(self) -> Stamp | None:
        """The state of the file; None when there is none."""
        return stamp_of(self._start.path)

    def read(self) -> Declared:
        """What the file declares now, all of it checked."""
        path = self._start.path
        stamp = self.stamp()
        text = read_file(path)
        tree = parse(text, path)
        settings, _ = compose(tree, str(path), self._start.overrides)
        model_sources(settings.models)
        literals = literals_of(settings)
        waiting = [*_differences(self._start.settings, settings, ""), *self._sources(settings.models)]
        keep(text, self._start.copy)
        changed_at = 0.0 if stamp is None else stamp[0] / 1e9
        return Declared(sections_of(tree), literals, tuple(waiting[:_MOST_DIFFERENCES]), changed_at)

    def needs_restart(self, sections: Mapping[str, Any]) -> tuple[str, ...]:
        """The local models that these sections ask for and the model host does not serve as they say."""
        return tuple(self._sources(self.settings(sections).models))[:_MOST_DIFFERENCES]

    def build(self, sections: Mapping[str, Any], added: Additions) -> Built:
        """What serves these sections and what was added; local models stay as the model host has them.

        What an error blames is left out, so each turn of the loop has fewer additions than the one before.
        """
        left_out = dict(_hidden(self.settings(sections), added))
        while True:
            kept = added.without(frozenset(left_out))
            try:
                return Built(self._lineup(sections, kept), left_out)
            except SettingsError as error:
                if not kept.named():
                    raise
                left_out |= _blamed(error.message, kept)
            except Exception:  # whatever it was, what is declared must go on to serve
                if not kept.named():
                    raise
                _log.exception("what was added could not be built")
                left_out |= dict.fromkeys(kept.named(), _BROKE)

    def _lineup(self, sections: Mapping[str, Any], added: Additions) -> Lineup:
        settings = self.settings(sections, added)
        models = {name: self._servable(name, model) for name, model in settings.models.items()}
        served = {name: model for name, model in models.items() if model is not None}
        return self._build(settings.model_copy(update={"models": served}), added)

    def settings(self, sections: Mapping[str, Any], added: Additions = NOTHING_ADDED) -> Settings:
        """The settings of this process with other sections, and what was added under them."""
        tree = {**self._start.declared, **sections}
        if added != NOTHING_ADDED:
            tree |= {name: {**added.of(kind), **(tree.get(name) or {})} for kind, name in SECTION.items()}
        settings, _ = compose(tree, str(self._start.path), self._start.overrides)
        return settings

    def _servable(self, name: str, model: ModelSettings) -> ModelSettings | None:
        """The model, or what stands for it until a restart: what it was, or nothing."""
        began = self._start.settings.models.get(name)
        if model.source is None or (began is not None and _hosting(began) == _hosting(model)):
            return model
        return began if began is not None and began.source is not None else None

    def _sources(self, models: Mapping[str, ModelSettings]) -> Iterator[str]:
        began = self._start.settings.models
        for name in sorted({*began, *models}):
            before, now = _hosting(began.get(name)), _hosting(models.get(name))
            for setting in before:
                if before[setting] != now[setting]:
                    yield f"models.{name}.{setting}"
                    break


def _hidden(declared: Settings, added: Additions) -> Iterator[tuple[Key, str]]:
    """What was added under a name that is declared too."""
    for kind, section in SECTION.items():
        for name in added.of(kind):
            if name in getattr(declared, section):
                yield (kind, name), f"{section}.{name}: is declared in polyforge.yaml, which counts"


def _blamed(message: str, added: Additions) -> dict[Key, str]:
    """The additions that an error names, and the models of providers among them; all, if it names none."""
    found: dict[Key, str] = {}
    for line in message.splitlines():
        named = [
            key for key in added.named() if line.startswith(tuple(f"{SECTION[key[0]]}.{key[1]}{end}" for end in ".:"))
        ]
        if named:
            found[max(named, key=lambda key: len(key[1]))] = line
    for name, model in added.models.items():
        gone = next((use for use in _used_by(model) if ("provider", use) in found), None)
        if gone is not None:
            found.setdefault(("model", name), f"models.{name}: its provider {gone!r} is left out")
    return found or dict.fromkeys(added.named(), message)


def _used_by(model: Mapping[str, Any]) -> list[str]:
    return [place["provider"] for place in model.get("deployments") or ()]


def _hosting(model: ModelSettings | None) -> dict[str, object]:
    """What the model host makes of a model; nothing of one that it does not serve."""
    served = model if model is not None and model.source is not None else None
    return {name: None if served is None else getattr(served, name) for name in ("source", *sorted(HOSTING))}


def _differences(before: BaseModel, now: BaseModel, path: str) -> Iterator[str]:
    """Paths of what differs, outside of the sections that are taken again."""
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(now, name)
        here = f"{path}.{name}" if path else name
        if old == new or here in SECTIONS:
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _differences(old, new, here)
        else:
            yield here


def literals_of(settings: Settings) -> frozenset[Path]:
    """Where the settings of providers hold a secret that is written out; SettingsError when they are wrong."""
    found: set[Path] = set()
    for name, chosen in settings.providers.items():
        found |= set(_literals_in(name, chosen))
    return frozenset(found)


def _literals_in(name: str, chosen: Chosen) -> Iterator[Path]:
    _, settings = adapters.find("providers", f"providers.{name}", chosen)
    for field, value in settings:
        if isinstance(value, SecretRef) and not str(value).startswith(("env:", "file:", "secret:")):
            yield ("providers", name, field)
