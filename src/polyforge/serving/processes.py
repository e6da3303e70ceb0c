"""The processes that models have for themselves, as Prometheus reads them."""

from collections.abc import Iterable
from typing import Final

from polyforge.ports.model_backend import ProcessBackend, ProcessFacts
from polyforge.serving.repository import HostedModel
from polyforge.serving.statistics import escape

ENDINGS: Final = ("crashed", "memory", "time", "protocol")
"""By itself, over its memory, over its time, or for answering nonsense."""
FAMILIES: Final = (
    ("polyforge_model_processes", "gauge", "Processes that compute the model"),
    ("polyforge_model_process_memory_bytes", "gauge", "Memory that the model's processes have for themselves"),
    ("polyforge_model_process_restarts_total", "counter", "Processes of the model that were started again"),
    ("polyforge_model_process_ends_total", "counter", "Processes of the model that ended unasked, by reason"),
)


def process_text(models: Iterable[HostedModel]) -> str:
    """The processes of those models that have any, in Prometheus' text format; nothing when none has."""
    found = [(_labels(model), facts) for model in models if (facts := _facts_of(model)) is not None]
    if not found:
        return ""
    lines: list[str] = []
    for name, kind, text in FAMILIES:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        for labels, facts in found:
            lines += [f"{name}{{{labels}{more}}} {value}" for more, value in _samples(name, facts)]
    return "\n".join(lines) + "\n"


def living(model: HostedModel) -> int:
    """How many processes compute a model that has any for itself."""
    facts = _facts_of(model)
    return 0 if facts is None else facts.living


def _facts_of(model: HostedModel) -> ProcessFacts | None:
    return model.backend.processes if isinstance(model.backend, ProcessBackend) else None


def _samples(name: str, facts: ProcessFacts) -> list[tuple[str, int]]:
    if name == "polyforge_model_process_ends_total":
        return [(f',reason="{reason}"', facts.endings.get(reason, 0)) for reason in ENDINGS]
    values = {
        "polyforge_model_processes": facts.living,
        "polyforge_model_process_memory_bytes": facts.resident_bytes,
        "polyforge_model_process_restarts_total": facts.restarts,
    }
    return [("", values[name])]


def _labels(model: HostedModel) -> str:
    return f'model="{escape(model.name)}",version="{escape(model.version)}"'
