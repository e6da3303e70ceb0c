"""Sums of usage."""

import pytest

from polyforge.kernel.errors import Invalid
from polyforge.tenancy.usage import UsageRow, parse_groups, total


def test_groups_come_in_any_order_with_spaces_and_twice() -> None:
    assert parse_groups("day, key,day,") == {"day", "key"}
    assert parse_groups("") == frozenset()


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(Invalid, match="'user'") as refused:
        parse_groups("key,user")
    assert refused.value.param == "group_by"


def test_the_total_is_the_sum_of_the_rows() -> None:
    rows = [
        UsageRow(key="a", requests=1, errors=1, input_tokens=2, cached_tokens=1, output_tokens=3, cost=4, price=5)
    ] * 3
    expected = UsageRow(requests=3, errors=3, input_tokens=6, cached_tokens=3, output_tokens=9, cost=12, price=15)
    assert total(rows) == expected
    assert total([]) == UsageRow()
