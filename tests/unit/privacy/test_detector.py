"""What is found and what is left alone."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.kernel.errors import Invalid
from polyforge.privacy.detector import Detector
from polyforge.privacy.kinds import GROUPS, KINDS
from polyforge.privacy.matches import Match
from tests.unit.privacy.examples import FOUND, HARMLESS, parts

ALL = Detector()
PIECES = st.one_of(
    st.sampled_from([parts(marked)[0] for _, marked in FOUND]), st.sampled_from(HARMLESS), st.text(max_size=20)
)


def found(detector: Detector, text: str) -> list[tuple[str, str]]:
    return [(match.kind, text[match.start : match.end]) for match in detector.detect(text)]


@pytest.mark.parametrize(("kind", "marked"), FOUND)
def test_is_found_among_all_kinds(kind: str, marked: str) -> None:
    text, values = parts(marked)
    assert found(ALL, text) == [(kind, value) for value in values]


@pytest.mark.parametrize(("kind", "marked"), FOUND)
def test_is_found_by_its_kind_alone(kind: str, marked: str) -> None:
    text, values = parts(marked)
    assert found(Detector([kind]), text) == [(kind, value) for value in values]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_left_alone(text: str) -> None:
    assert found(ALL, text) == []


def test_each_kind_has_an_example_and_says_what_it_is() -> None:
    assert {kind for kind, _ in FOUND} == set(KINDS)
    assert all(kind.description and kind.longest > 0 and kind.looked_for for kind in KINDS.values())
    assert len(FOUND) >= 150
    assert len(HARMLESS) >= 60


@pytest.mark.parametrize(("kind", "marked"), FOUND)
def test_no_match_is_longer_than_its_kind_says(kind: str, marked: str) -> None:
    _, values = parts(marked)
    assert all(len(value) <= KINDS[kind].longest for value in values)


def test_groups_stand_for_their_kinds() -> None:
    assert Detector(["finance"]).kinds == ("card", "iban")
    assert set(Detector(["national_id", "email"]).kinds) == {*GROUPS["national_id"], "email"}
    assert found(Detector(["email"]), "a@b.co or +91 98765 43210") == [("email", "a@b.co")]


def test_an_unknown_kind_or_region_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="'emails'") as refused:
        Detector(["emails"])
    assert refused.value.param == "kinds"
    with pytest.raises(Invalid, match="'XX'"):
        Detector(["phone"], regions=["XX"])


def test_regions_decide_which_numbers_need_no_country_code() -> None:
    text = "030 901820, 98765 43210"
    assert found(Detector(["phone"], regions=["DE"]), text) == [("phone", "030 901820")]
    assert found(Detector(["phone"], regions=["IN"]), text) == [("phone", "98765 43210")]
    assert found(Detector(["phone"], regions=[]), text) == []


def test_what_is_less_sure_is_reported_when_asked_for() -> None:
    text = "127.0.0.1 and 943 476 5919"
    assert found(Detector(["ip", "uk_nhs"]), text) == []
    assert found(Detector(["ip", "uk_nhs"], least=0.3), text) == [("ip", "127.0.0.1"), ("uk_nhs", "943 476 5919")]


def test_words_before_a_number_make_it_surer() -> None:
    (alone,) = ALL.detect("030 901820")
    (called,) = ALL.detect("tel 030 901820")
    assert called.confidence > alone.confidence


def test_the_longer_match_contains_the_shorter_one() -> None:
    text = "https://bob:s3cret@example.com"
    assert found(ALL, text) == [("url_credentials", text)]
    assert found(Detector(["email"]), text) == [("email", "s3cret@example.com")]


def test_all_that_any_find_covers_stays_covered() -> None:
    assert found(Detector(["email"]), "a@b.co@c.de") == [("email", "a@"), ("email", "b.co@c.de")]


def test_places_are_those_of_the_text_as_it_came() -> None:
    text = "\u200bx jo\u200bhn@example.com\u200b!"
    assert ALL.detect(text) == [Match(3, 20, 0.95, "email")]
    assert text[3:20] == "jo\u200bhn@example.com"


@given(st.lists(PIECES, max_size=6), st.sampled_from([" ", "", ", ", "\n"]))
@settings(max_examples=150, deadline=None)
def test_matches_are_sorted_and_apart(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    matches = ALL.detect(text)
    assert all(0 <= match.start < match.end <= len(text) for match in matches)
    assert all(first.end <= second.start for first, second in pairwise(matches))


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read(text: str) -> None:
    assert ALL.detect(text) == ALL.detect(text)
