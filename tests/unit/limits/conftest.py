"""Counters of limits in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyforge.tenancy.limits.counters import LimitCounters
from tests.unit.limits.limit_samples import opened


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[LimitCounters]:
    """Those of the only worker of a machine."""
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[LimitCounters, LimitCounters]]:
    """Those of two workers that share a machine."""
    first, second = opened(tmp_path, 0, 2), opened(tmp_path, 1, 2)
    yield first, second
    first.close()
    second.close()
