"""Guardrails that the settings declare."""

from typing import Any

import pytest

from polyforge.kernel.errors import SettingsError
from polyforge.kernel.tasks import Task
from polyforge.registry.catalog import Catalog, Model
from polyforge.wiring.guardrails import check_models, rulebook_of
from polyforge.wiring.settings import Settings

TASKS: dict[str, Task] = {"embedder": "embedding", "moderator": "moderation", "assistant": "chat"}
CATALOG = Catalog({name: Model(name, task, ()) for name, task in TASKS.items()})
TOPICS = {"use": "topics", "deny": {"politics": ["Who should I vote for?"]}}


def check(**guardrail: Any) -> None:
    check_models(rulebook_of(Settings.model_validate({"guardrails": {"it": guardrail}})), CATALOG)


def test_models_that_guardrails_ask_are_there() -> None:
    check(**TOPICS, model="embedder")
    check(use="moderation", model="moderator")
    check(use="length", most=1)


@pytest.mark.parametrize("model", ["gone", "assistant", "moderator"])
def test_a_model_that_is_not_there_or_does_something_else_is_a_wrong_setting(model: str) -> None:
    with pytest.raises(SettingsError, match=rf"guardrails\.it\.model: there is no model '{model}' that does embedding"):
        check(**TOPICS, model=model)


def test_the_built_in_model_embeds_where_none_is_named() -> None:
    with pytest.raises(SettingsError, match="polyforge/static-minilm"):
        check(**TOPICS)


@pytest.mark.parametrize(
    ("guardrail", "path"),
    [
        ({**TOPICS, "threshold": 2}, r"guardrails\.it\.threshold"),
        ({**TOPICS, "action": "mask"}, r"guardrails\.it\.action"),
        ({"use": "pii", "custom": {"email": {"pattern": "x"}}}, r"guardrails\.it\.custom"),
        ({"use": "pii", "recogniser": "gone"}, r"guardrails\.it\.recogniser"),
        ({"use": "moderation"}, r"guardrails\.it\.model"),
        ({"use": "classifier", "url": "http://x", "model": "m", "labels": ["A"], "finds": ["B"]}, r"guardrails\.it"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(guardrail: dict[str, Any], path: str) -> None:
    with pytest.raises(SettingsError, match=path):
        check(**guardrail)
