"""Usage adds up, field by field."""

import msgspec
import pytest

from polyforge.kernel.usage import NO_USAGE, Usage, told


def test_every_count_is_added() -> None:
    names = [name for name in Usage.__struct_fields__ if name != "exact"]
    one = msgspec.convert({name: place + 1 for place, name in enumerate(names)}, Usage)
    both = one + one
    assert [getattr(both, name) for name in names] == [2 * (place + 1) for place in range(len(names))]
    assert both.exact


def test_a_sum_is_exact_where_both_are() -> None:
    estimate = Usage(1, output=2, exact=False)
    assert (estimate + NO_USAGE).exact is (NO_USAGE + estimate).exact is False
    assert NO_USAGE + NO_USAGE == NO_USAGE
    assert msgspec.structs.replace(estimate + NO_USAGE, exact=False) == estimate


@pytest.mark.parametrize(
    "usage", [Usage(-1), Usage(1, cache_read=-1), Usage(1, output=-1), Usage(1, reasoning=-1), Usage(10**10)]
)
def test_numbers_that_cannot_be_are_not_believed(usage: Usage) -> None:
    assert told(usage) is None


def test_thoughts_are_part_of_the_output() -> None:
    assert told(Usage(1, output=2, reasoning=2)) == Usage(1, output=2, reasoning=2)
    assert told(Usage(1, output=2, reasoning=9)) == Usage(1, output=2, reasoning=2)
