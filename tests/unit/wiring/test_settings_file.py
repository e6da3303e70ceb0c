"""What was added beneath what the file declares: the file wins, and what does not fit is left out alone."""

from pathlib import Path
from typing import Any, cast

import pytest

from polyforge.gateway.lineup import Lineup
from polyforge.kernel.errors import SettingsError
from polyforge.operations.additions.content import NOTHING_ADDED, Additions
from polyforge.wiring.settings import Settings, compose
from polyforge.wiring.settings_file import SettingsFile
from polyforge.wiring.starting import Start

LAB = {"use": "openai", "base_url": "http://lab/v1"}


def model(provider: str, **more: Any) -> dict[str, Any]:
    return {"deployments": [{"provider": provider, "model": "m"}], **more}


SECTIONS = {"providers": {"lab": LAB}, "models": {"steady": model("lab")}}


class Builds:
    """What stands for the building of lineups: refuses providers of some names, as adapters would."""

    def __init__(self, *bad: str, silent: bool = False) -> None:
        self.bad = bad
        self.silent = silent
        self.built: list[tuple[list[str], list[str]]] = []

    def __call__(self, settings: Settings, added: Additions) -> Lineup:
        for name in self.bad:
            if name in settings.providers:
                raise SettingsError("it broke" if self.silent else f"providers.{name}.base_url: cannot be")
        self.built.append((sorted(settings.providers), sorted(settings.models)))
        return cast(Lineup, None)


def file(builds: Builds, tmp_path: Path, **declared: Any) -> SettingsFile:
    settings, _ = compose(declared, "test", None, {})
    path = tmp_path / "polyforge.yaml"
    return SettingsFile(Start(settings, path, declared, None, 0.0, {}, tmp_path / "copy"), builds)


def test_what_is_added_serves_beside_what_is_declared(tmp_path: Path) -> None:
    builds = Builds()
    added = Additions({"more": LAB}, {"fresh": model("more"), "other": model("lab")})
    built = file(builds, tmp_path).build(SECTIONS, added)
    assert built.left_out == {}
    assert builds.built == [(["lab", "more"], ["fresh", "other", "steady"])]


def test_what_the_process_began_with_stays_beneath_what_is_added(tmp_path: Path) -> None:
    builds = Builds()
    file(builds, tmp_path, **SECTIONS).build({}, Additions({"more": LAB}))
    assert builds.built == [(["lab", "more"], ["steady"])]


def test_the_file_hides_what_was_added_under_its_names(tmp_path: Path) -> None:
    builds = Builds()
    added = Additions({"lab": {"use": "anthropic"}}, {"steady": model("nowhere")})
    built = file(builds, tmp_path).build(SECTIONS, added)
    assert built.left_out.keys() == {("provider", "lab"), ("model", "steady")}
    assert all("polyforge.yaml" in reason for reason in built.left_out.values())
    assert builds.built == [(["lab"], ["steady"])]


def test_names_that_the_environment_declares_are_hidden_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYFORGE_PROVIDERS__MORE__USE", "anthropic")
    built = file(Builds(), tmp_path).build(SECTIONS, Additions({"more": LAB}))
    assert built.left_out.keys() == {("provider", "more")}


def test_a_provider_that_breaks_is_left_out_with_its_models_and_nothing_else(tmp_path: Path) -> None:
    builds = Builds("bad")
    added = Additions({"bad": LAB, "bad.er": LAB, "more": LAB}, {"lost": model("bad"), "fresh": model("more")})
    built = file(builds, tmp_path).build(SECTIONS, added)
    assert built.left_out.keys() == {("provider", "bad"), ("model", "lost")}
    assert builds.built == [(["bad.er", "lab", "more"], ["fresh", "steady"])]


def test_models_that_are_wrong_by_themselves_are_left_out_one_by_one(tmp_path: Path) -> None:
    builds = Builds()
    models = {"a": model("gone"), "b": model("lab", guardrails=["gone"]), "c": {"task": "nonsense"}, "d": model("lab")}
    built = file(builds, tmp_path).build(SECTIONS, Additions({}, models))
    assert built.left_out.keys() == {("model", "a"), ("model", "b"), ("model", "c")}
    assert builds.built == [(["lab"], ["d", "steady"])]


def test_an_error_that_names_nothing_leaves_out_all_that_was_added(tmp_path: Path) -> None:
    builds = Builds("bad", silent=True)
    built = file(builds, tmp_path).build(SECTIONS, Additions({"bad": LAB, "more": LAB}))
    assert built.left_out.keys() == {("provider", "bad"), ("provider", "more")}
    assert builds.built == [(["lab"], ["steady"])]


def test_an_addition_that_breaks_the_building_itself_does_not_keep_the_rest_from_serving(tmp_path: Path) -> None:
    class Breaks(Builds):
        def __call__(self, settings: Settings, added: Additions) -> Lineup:
            if added.named():
                raise OverflowError("cannot convert float infinity to integer")
            return super().__call__(settings, added)

    builds = Breaks()
    built = file(builds, tmp_path).build(SECTIONS, Additions({"more": LAB}))
    assert built.left_out.keys() == {("provider", "more")}
    assert builds.built == [(["lab"], ["steady"])]


def test_what_is_declared_and_wrong_is_an_error_whatever_was_added(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be"):
        file(Builds("lab"), tmp_path).build(SECTIONS, Additions({"more": LAB}))
    with pytest.raises(SettingsError, match="cannot be"):
        file(Builds("lab"), tmp_path).build(SECTIONS, NOTHING_ADDED)
