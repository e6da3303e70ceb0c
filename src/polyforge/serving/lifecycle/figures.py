"""What is in memory, what it takes, and how often it came and went, as Prometheus reads it."""

from collections.abc import Sequence
from typing import Final

from polyforge.serving.lifecycle.keeping import LEAVINGS, Life
from polyforge.serving.statistics import escape

FAMILIES: Final = (
    ("polyforge_model_resident", "gauge", "Whether the model is in memory; one that is not is loaded when it is asked"),
    ("polyforge_model_memory_bytes", "gauge", "Memory that is counted for the model"),
    ("polyforge_model_loads_total", "counter", "How often the model came into memory"),
    ("polyforge_model_load_failures_total", "counter", "How often it could not be loaded"),
    ("polyforge_model_unloads_total", "counter", "How often the model left the memory, by reason"),
)


def life_text(lives: Sequence[Life]) -> str:
    """The lives of models in Prometheus' text format."""
    lines: list[str] = []
    for name, kind, text in FAMILIES:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        for life in lives:
            labels = f'model="{escape(life.model)}",version="{escape(life.version)}"'
            lines += [f"{name}{{{labels}{more}}} {value}" for more, value in _samples(name, life)]
    return "\n".join(lines) + "\n" if lives else ""


def _samples(name: str, life: Life) -> list[tuple[str, int]]:
    if name == "polyforge_model_unloads_total":
        return [(f',reason="{reason}"', life.leavings.get(reason, 0)) for reason in LEAVINGS]
    values = {
        "polyforge_model_resident": int(life.resident),
        "polyforge_model_memory_bytes": life.memory_bytes,
        "polyforge_model_loads_total": life.loads,
        "polyforge_model_load_failures_total": life.failures,
    }
    return [("", values[name])]
