"""The guardrails that the settings declare, each by its adapter."""

from polyforge.guardrails.rules import Rule, Rulebook
from polyforge.kernel.errors import SettingsError
from polyforge.ports.guardrail import AsksModel
from polyforge.registry.catalog import Catalog
from polyforge.wiring import adapters
from polyforge.wiring.settings import GuardrailSettings, Settings


def rulebook_of(settings: Settings) -> Rulebook:
    """What calls have to pass; SettingsError names the path of a setting that is wrong."""
    return Rulebook([_rule(name, chosen) for name, chosen in settings.guardrails.items()])


def check_models(rulebook: Rulebook, catalog: Catalog) -> None:
    """SettingsError where a guardrail judges by a model that is not there, or that does something else."""
    for rule in rulebook.rules:
        if not isinstance(rule.guardrail, AsksModel):
            continue
        name, task = rule.guardrail.model, rule.guardrail.task
        if not (catalog.knows(name) and catalog.find(name).does(task)):
            raise SettingsError(f"guardrails.{rule.name}.model: there is no model {name!r} that does {task}")


def _rule(name: str, chosen: GuardrailSettings) -> Rule:
    adapter, own = adapters.find("guardrails", f"guardrails.{name}", chosen)
    try:
        guardrail = adapter(own, chosen.action)
    except ValueError as error:
        raise SettingsError(f"guardrails.{name}.action: {error}") from error
    return Rule(
        name,
        chosen.use,
        guardrail,
        frozenset(chosen.on),
        chosen.action,
        chosen.on_error,
        chosen.timeout_seconds,
        chosen.always,
    )
