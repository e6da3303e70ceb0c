"""Check digits, against numbers that their issuers publish."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.privacy.checksums import ean, is_date, luhn, mod_11_10, mod_97, verhoeff, weighted


@given(st.text(alphabet="0123456789", min_size=11, max_size=18), st.data())
@pytest.mark.parametrize("check", [luhn, verhoeff])
def test_one_check_digit_fits_and_one_wrong_digit_is_seen(
    check: Callable[[str], bool], digits: str, data: st.DataObject
) -> None:
    (right,) = [digits + digit for digit in "0123456789" if check(digits + digit)]
    place = data.draw(st.integers(0, len(digits)))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != right[place]]))
    assert not check(right[:place] + other + right[place + 1 :])


def test_published_numbers() -> None:
    assert luhn("79927398713")
    assert verhoeff("2363")
    assert mod_97("GB82WEST12345698765432")
    assert not mod_97("GB82WEST12345698765433")
    assert mod_11_10("86095742719")
    assert ean("7569217076985")
    assert weighted("1234", (4, 3, 2)) == 4 + 6 + 6


def test_dates() -> None:
    assert is_date("1984", "02", "29")
    assert not is_date("1985", "02", "29")
    assert is_date("00", "2", "29")
    assert not is_date("85", "13", "01")
    assert not is_date("85", "12", "00")
