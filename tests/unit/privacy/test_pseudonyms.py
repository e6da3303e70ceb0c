"""Values go out as stand-ins and come back as themselves."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.privacy.detector import Detector
from polyforge.privacy.matches import Match
from polyforge.privacy.pseudonyms import Pseudonyms
from tests.unit.privacy.examples import FOUND, parts

ALL = Detector()
TEXTS = [parts(marked)[0] for _, marked in FOUND]


def hidden(text: str, key: bytes = b"key") -> tuple[Pseudonyms, str]:
    pseudonyms = Pseudonyms(key)
    return pseudonyms, pseudonyms.hide(text, ALL.detect(text))


@pytest.mark.parametrize(("kind", "marked"), FOUND)
def test_values_are_gone_and_come_back(kind: str, marked: str) -> None:
    text, values = parts(marked)
    pseudonyms, safe = hidden(text)
    assert not any(value in safe for value in values)
    assert pseudonyms.restore(safe) == text


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_values_come_back_whatever_the_pieces(texts: list[str], length: int) -> None:
    text = " | ".join(texts)
    pseudonyms, safe = hidden(text)
    restorer = pseudonyms.restorer()
    pieces = [restorer.feed(safe[start : start + length]) for start in range(0, len(safe), length)]
    assert "".join(pieces) + restorer.finish() == text


def test_the_same_value_has_the_same_stand_in_and_another_key_another() -> None:
    _, first = hidden("write to a@b.co")
    _, again = hidden("then a@b.co answers")
    _, other = hidden("write to a@b.co", b"other")
    assert first.split()[-1] == again.split()[1]
    assert first != other


def test_one_number_written_in_two_ways_has_the_same_digits() -> None:
    _, safe = hidden("98765 43210 or 9876543210")
    spaced, _, compact = safe.partition(" or ")
    assert spaced.replace(" ", "") == compact


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a@b.co", r"user\.[a-z0-9]{10}@example\.com"),
        ("+91 98765 43210", r"\+99 9\d{4} \d{5}"),
        ("(415) 555-2671", r"\(\d{3}\) 555-01\d\d"),
        ("98765 43210", r"000\d\d \d{5}"),
        ("4111 1111 1111 1111", r"0\d{3} \d{4} \d{4} \d{4}"),
        ("DE89 3704 0044 0532 0130 00", r"DE00 \d{4} \d{4} \d{4} \d{4} \d\d"),
        ("192.168.1.10", r"2[45]\d\.\d+\.\d+\.\d+"),
        ("fe80::1ff:fe23:4567:890a", r"2001:db8:[0-9a-f:]+"),
        ("00:1A:2B:3C:4D:5E", r"02:00:5e(?::[0-9a-f]{2}){3}"),
        ("123-45-6789", r"000-\d\d-\d{4}"),
        ("221B Baker Street, London NW1 6XE", r"ADDRESS_[a-z0-9]{10}"),
    ],
)
def test_stand_ins_have_the_shape_and_belong_to_nobody(text: str, shape: str) -> None:
    _, safe = hidden(text)
    assert re.fullmatch(shape, safe)


def test_a_stand_in_is_none_that_stands_in_the_conversation() -> None:
    _, taken = hidden("a@b.co")
    pseudonyms = Pseudonyms(b"key")
    pseudonyms.avoid(f"hello {taken}")
    safe = pseudonyms.hide("a@b.co", ALL.detect("a@b.co"))
    assert safe != taken
    assert pseudonyms.restore(f"{safe} {taken}") == f"a@b.co {taken}"


def test_a_stand_in_within_a_longer_word_stays() -> None:
    pseudonyms, safe = hidden("192.168.1.10")
    assert pseudonyms.restore(f"{safe}7 1{safe} {safe}") == f"{safe}7 1{safe} 192.168.1.10"


def test_the_restorer_holds_back_beginnings_only() -> None:
    pseudonyms, safe = hidden("a@b.co")
    restorer = pseudonyms.restorer()
    assert restorer.feed("Dear ") == "Dear "
    assert restorer.feed("Mr us") == "Mr "
    assert restorer.feed("ual, ") == "usual, "
    assert restorer.feed(safe[:9]) == ""
    assert restorer.feed(safe[9:]) == ""
    assert restorer.feed(".") == "a@b.co."
    assert restorer.finish() == ""


def test_nothing_hidden_is_nothing_held() -> None:
    restorer = Pseudonyms(b"key").restorer()
    assert restorer.feed("user.") == "user."


def test_it_replaces_in_streams_too() -> None:
    pseudonyms = Pseudonyms(b"key")
    stand_in = pseudonyms(Match(0, 6, 1.0, "email"), "a@b.co")
    assert pseudonyms.restore(f"<{stand_in}>") == "<a@b.co>"


class Scanned(str):
    """A text that knows how often all of it was looked through."""

    __slots__ = ("scans",)

    def __contains__(self, part: str) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.scans: int = getattr(self, "scans", 0) + 1
        return super().__contains__(part)


def test_a_text_is_not_looked_through_once_for_each_value() -> None:
    text = Scanned(" ".join(f"person{number}@acme.co" for number in range(200)))
    pseudonyms = Pseudonyms(b"key")
    pseudonyms.hide(text, ALL.detect(str(text)))
    assert getattr(text, "scans", 0) < 5
    assert len(pseudonyms.restorer()._values) == 200


def test_a_stand_in_that_a_later_text_has_is_not_taken() -> None:
    first = Pseudonyms(b"key")
    stand_in = first.hide("a@b.co", ALL.detect("a@b.co"))
    second = Pseudonyms(b"key")
    second.avoid("nothing")
    second.hide("c@d.co", ALL.detect("c@d.co"))
    second.avoid(f"I know {stand_in} well")
    assert second.hide("a@b.co", ALL.detect("a@b.co")) != stand_in
