"""Writes metrics in the Prometheus text format 0.0.4 or as OpenMetrics 1.0.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats/, https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from collections.abc import Sequence
from functools import cache

from polyforge.telemetry.aggregation import Totals
from polyforge.telemetry.families import FAMILIES, Family

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wants_openmetrics(accept: str) -> bool:
    """Whether a scraper's Accept header asks for OpenMetrics."""
    return "application/openmetrics-text" in accept


def expose(totals: Totals, openmetrics: bool = False) -> bytes:
    """All series of all families, in a stable order."""
    by_family: dict[str, list[tuple[tuple[str, ...], list[float]]]] = {}
    for (family, labels), values in sorted(totals.items()):
        by_family.setdefault(family, []).append((labels, values))
    lines: list[str] = []
    for family in FAMILIES:
        name = family.name.removesuffix("_total") if openmetrics else family.name
        lines += (f"# HELP {name} {_escape_help(family.help)}", f"# TYPE {name} {family.kind}")
        for labels, values in by_family.get(family.name, ()):
            lines += _samples(family, labels, values)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join([*lines, ""]).encode("utf-8", "replace")


def _samples(family: Family, labels: tuple[str, ...], values: Sequence[float]) -> list[str]:
    pairs = ",".join(f'{name}="{_escape_label(value)}"' for name, value in zip(family.labels, labels, strict=True))
    if family.kind != "histogram":
        return [f"{family.name}{{{pairs}}} {_number(values[0], family.unit)}" if pairs else _bare(family, values)]
    lines: list[str] = []
    count = 0
    bucket = f"{family.name}_bucket{{{pairs}," if pairs else f"{family.name}_bucket{{"
    for bound, observed in zip(_bounds(family), values, strict=False):
        count += int(observed)
        lines.append(f"{bucket}{bound} {count}")
    around = f"{{{pairs}}}" if pairs else ""
    lines.append(f"{family.name}_count{around} {count}")
    lines.append(f"{family.name}_sum{around} {_number(values[-1], family.unit)}")
    return lines


@cache
def _bounds(family: Family) -> tuple[str, ...]:
    return (*(f'le="{bound!r}"}}' for bound in family.buckets), 'le="+Inf"}')


def _bare(family: Family, values: Sequence[float]) -> str:
    return f"{family.name} {_number(values[0], family.unit)}"


def _number(value: float, unit: int) -> str:
    if unit == 1 and value == int(value):
        return str(int(value))
    return repr(value / unit)


def _escape_label(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
