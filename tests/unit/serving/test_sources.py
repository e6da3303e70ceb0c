"""Which models the settings name, and what is refused before anything is read."""

import hashlib
import re
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from polyforge.kernel.errors import SettingsError
from polyforge.registry.settings import ModelSettings
from polyforge.serving.hints import EngineHints
from polyforge.serving.lifecycle.roster import shape_of
from polyforge.serving.plan import Plan
from polyforge.serving.served import ServedModel
from polyforge.serving.sources import BUILT_IN, BUILT_IN_FOLDER, ModelSource, model_sources, registered_sources
from polyforge.serving.work import level_of


def test_the_built_in_model_is_always_there() -> None:
    hosted = ModelSettings.model_validate({"deployments": [{"provider": "lab"}]})
    assert [(source.name, source.folder) for source in model_sources({"chat": hosted})] == [(BUILT_IN, BUILT_IN_FOLDER)]


def test_a_folder_is_served_under_the_models_name() -> None:
    declared = ModelSettings.model_validate({"task": "embedding", "source": "file:///srv/my%20models/minilm"})
    expected = ModelSource("team/minilm", Path("/srv/my models/minilm"), EngineHints(task="embedding"))
    assert model_sources({"team/minilm": declared})[1:] == (expected,)


def test_how_it_is_served_comes_with_it() -> None:
    declared = ModelSettings.model_validate(
        {
            "task": "rerank",
            "source": "file:///srv/m",
            "backend": "cross_encoder",
            "options": {"activation": "none"},
            "instances": 2,
            "batch_rows": 4,
            "threads": 3,
            "isolated": True,
            "keep_warm": True,
            "idle_unload": 60,
        }
    )
    (source,) = model_sources({"m": declared})[1:]
    hints = EngineHints("rerank", "cross_encoder", {"activation": "none"}, 3, 4, 2, isolated=True)
    assert source == ModelSource("m", Path("/srv/m"), hints, keep_warm=True, idle_seconds=60)


def test_how_urgent_it_is_becomes_a_plan_that_no_caller_can_outdo() -> None:
    declared = {"task": "embedding", "source": "file:///srv/m"}
    (usual,) = model_sources({"m": ModelSettings.model_validate(declared)})[1:]
    assert usual.plan == {}
    (source,) = model_sources({"m": ModelSettings.model_validate({**declared, "priority": 3})})[1:]
    plan = shape_of(source)(Plan(batch_rows=8))
    assert (plan.levels, plan.default_level, plan.rank, plan.batch_rows) == (9, 3, -2, 8)
    assert [level_of(plan, {"priority": asked}) for asked in (0, 1, 3, 4, 9, 10)] == [3, 3, 3, 4, 9, 3]
    for wrong in (0, 10):
        with pytest.raises(ValidationError):
            ModelSettings.model_validate({**declared, "priority": wrong})


def test_how_it_is_served_is_only_for_a_model_of_our_own() -> None:
    with pytest.raises(ValidationError, match="keep_warm: is for local models"):
        ModelSettings.model_validate({"deployments": [{"provider": "lab"}], "keep_warm": True})


def test_a_registered_model_brings_its_version_and_its_plan() -> None:
    name = "01JCTEST0000000000000000AB.m"
    served = ServedModel(
        name, "3", "/data/artifacts/x", "x", EngineHints("embedding"), {"instances": 1}, keep_warm=True
    )
    (source,) = registered_sources([served])
    assert source == ModelSource(
        name, Path("/data/artifacts/x"), EngineHints("embedding"), "3", "x", {"instances": 1}, keep_warm=True
    )


def test_models_of_other_servers_are_asked_for_by_their_names_there() -> None:
    options = {"model": "ner-2", "key": "env:KEY"}
    declared = {
        "a": {"task": "classification", "source": "https://triton:8000", "backend": "remote_oip"},
        "b": {"task": "classification", "source": "http://tf", "backend": "tensorflow_serving", "options": options},
    }
    _, first, second = model_sources({name: ModelSettings.model_validate(model) for name, model in declared.items()})
    assert first.hints.settings == {"url": "https://triton:8000", "model": "a"}
    assert second.hints.settings == {"url": "http://tf", **options}
    apart = ModelSettings.model_validate({**declared["a"], "isolated": True})
    with pytest.raises(SettingsError, match=r"models\.a\.isolated: "):
        model_sources({"a": apart})


@pytest.mark.parametrize(
    ("name", "task", "source", "path"),
    [
        ("m", "chat", "file:///srv/m", "models.m.task"),
        ("01JCTEST0000000000000000AB.m", "embedding", "file:///srv/m", "models.01JCTEST0000000000000000AB.m"),
        ("m", "embedding", "hf://org/name", "models.m.source"),
        ("m", "embedding", "https://host/m", "models.m.backend"),
        ("m", "embedding", "file://host/m", "models.m.source"),
        ("m", "embedding", "file:relative", "models.m.source"),
        ("m", "embedding", "/srv/m", "models.m.source"),
        ("m/*", "embedding", "file:///srv/m", "models.m/*.source"),
        (BUILT_IN, "embedding", "file:///srv/m", f"models.{BUILT_IN}"),
    ],
)
def test_what_cannot_be_served_is_refused_by_the_path_of_its_setting(
    name: str, task: str, source: str, path: str
) -> None:
    settings = ModelSettings.model_validate({"task": task, "source": source})
    with pytest.raises(SettingsError, match=f"^{re.escape(path)}: "):
        model_sources({name: settings})


def test_the_model_in_the_package_is_the_one_its_card_describes() -> None:
    card = (BUILT_IN_FOLDER / "README.md").read_text()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        path = BUILT_IN_FOLDER / name
        assert f"| {name} | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |" in card
        assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
