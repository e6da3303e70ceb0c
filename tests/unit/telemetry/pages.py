"""Reading a metrics page as a scraper does."""

from collections.abc import Mapping

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

Page = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def read_page(page: bytes, openmetrics: bool = False) -> Page:
    """Every sample of a page by name and labels; fails on a sample that is there twice."""
    parse = parse_openmetrics if openmetrics else parse_text
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parse(page.decode()):
        for sample in family.samples:
            series = (sample.name, frozenset(sample.labels.items()))
            assert series not in samples, f"{series} is there twice"
            samples[series] = sample.value
    return samples


def value(page: Page, name: str, **labels: str) -> float:
    """One sample; 0 where there is none."""
    return page.get((name, frozenset(labels.items())), 0.0)


def total(page: Page, name: str, **labels: str) -> float:
    """The sum of all samples of a name that carry these labels."""
    return sum(
        value for (found, pairs), value in page.items() if found == name and labels.items() <= dict(pairs).items()
    )
