"""Kinds of an installation's own, and recognisers that are handed in."""

import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.kernel.errors import Invalid
from polyforge.privacy.custom import LONGEST, CustomKind
from polyforge.privacy.detector import Detector
from polyforge.privacy.masks import Mask, mask
from polyforge.privacy.matches import Match
from polyforge.privacy.patterns import parse
from polyforge.privacy.recognisers import REACH, Recognised
from polyforge.privacy.streams import StreamFilter

PATTERNS = (
    "EMP-[0-9]{6}",
    r"\bab|bcd\b",
    "a+b?c*d",
    "(?i)(foo|bar){1,3}-x",
    "[0-9]{4,6}",
    "(a|ab)(c|bcd)(d*)",
    "x(y(z)?)?w",
    "(?:a{1,3}){1,3}b",
    "a{2,}?b",
    "न[0-9]+",
    r"\d{2,}[.\-]\w",
)
SIGNS = "abcdxyzw foo-BARx01.EMP-न"


class People:
    """Finds Ada and Grace."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def recognise(self, texts: Sequence[str]) -> Sequence[Sequence[Match]]:
        self.seen += texts
        return [[Match(*found.span(), 0.9, "person") for found in re.finditer("Ada|Grace", text)] for text in texts]


def filtered(text: str, cuts: list[int], detector: Detector) -> str:
    stream = StreamFilter(detector, Mask())
    ends = [*cuts, len(text)]
    pieces = [stream.feed(text[start:end]) for start, end in zip([0, *cuts], ends, strict=True)]
    return "".join([*pieces, stream.finish()])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_finds_what_python_finds_and_knows_its_longest_match(pattern: str) -> None:
    detector = Detector([], walkers=[CustomKind("own", pattern)])
    source = random.Random(pattern)
    for _ in range(300):
        text = "".join(source.choice(SIGNS) for _ in range(source.randint(0, 30)))
        spans = [found.span() for found in re.finditer(pattern, text, re.ASCII)]
        assert [(match.start, match.end) for match in detector.detect(text)] == spans
        assert all(end - start <= parse(pattern).longest for start, end in spans)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(alphabet=SIGNS, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_pattern_is_cut_anywhere(pattern: str, text: str, cuts: list[int]) -> None:
    detector = Detector(["email"], walkers=[CustomKind("own", pattern)])
    places = sorted(min(cut, len(text)) for cut in cuts)
    assert filtered(text, places, detector) == mask(text, detector.detect(text))


def test_a_stream_waits_for_no_more_than_the_beginning_of_a_pattern() -> None:
    stream = StreamFilter(Detector([], walkers=[CustomKind("badge", "EMP-[0-9]{6}")]), Mask())
    assert stream.feed("hello E") == "hello "
    assert stream.feed("MP-1") == ""
    assert stream.feed("x EMP-12345") == "EMP-1x "
    assert stream.feed("6") == "[BADGE]"


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("a*", "empty"),
        ("(a", "missing"),
        ("a)", r"unexpected \)"),
        ("^a", "no beginning"),
        ("a$", "no beginning"),
        ("(?=a)b", "look-around"),
        (r"(a)\1", "escape"),
        ("[a", "class"),
        ("a**", "repeat of a repeat"),
        ("a{9,2}", "repeat"),
        ("(?:a{100}){100}", str(LONGEST)),
        ("(?:a{1,30}){1,30}b", "too large"),
        ("((((((((((a))))))))))", "deeper"),
        ("a" * 600, "at most"),
        (r"\p{Nonsense}", "RE2"),
    ],
)
def test_a_pattern_that_cannot_be_kept_is_refused(pattern: str, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint) as refused:
        CustomKind("own", pattern)
    assert refused.value.param == "pattern"


@pytest.mark.parametrize("name", ["email", "finance", "Own", "", "a b", "x" * 65])
def test_a_name_must_be_new_and_plain(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        CustomKind(name, "a")
    assert refused.value.param == "name"


def test_any_text_is_walked() -> None:
    kind = CustomKind("own", "[0-9]+")
    assert kind.walk("\ud800 12 \U0001f600 3", 0, last=True)[0] == [Match(2, 4, 0.95, "own"), Match(7, 8, 0.95, "own")]


def test_own_kinds_give_way_to_longer_ones() -> None:
    detector = Detector(walkers=[CustomKind("own", "[0-9]{4}")])
    text = "4111 1111 1111 1111 and 1234"
    assert mask(text, detector.detect(text)) == "[CARD] and [OWN]"


def test_a_recogniser_is_asked_for_all_sentences_at_once() -> None:
    people = People()
    detector = Detector(["email"], walkers=[Recognised(people)])
    text = "Ada met Grace. Write to ada@b.co! Ok"
    assert mask(text, detector.detect(text)) == "[PERSON] met [PERSON]. Write to [EMAIL]! Ok"
    assert people.seen == ["Ada met Grace. ", "Write to ada@b.co! ", "Ok"]


@given(st.lists(st.sampled_from(["Ada", " ", "Grace", ". ", "x" * 150, "\n", "a@b.co", "! "]), max_size=20), st.data())
@settings(max_examples=100, deadline=None)
def test_a_recogniser_sees_the_same_sentences_in_a_stream(scraps: list[str], data: st.DataObject) -> None:
    text = "".join(scraps)
    whole, streamed = People(), People()
    detector = Detector(["email"], walkers=[Recognised(whole)])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    expected = mask(text, detector.detect(text))
    assert filtered(text, cuts, Detector(["email"], walkers=[Recognised(streamed)])) == expected
    assert streamed.seen == whole.seen
    assert all(len(sentence) <= REACH for sentence in whole.seen)


def test_a_stream_waits_for_the_end_of_the_sentence() -> None:
    stream = StreamFilter(Detector([], walkers=[Recognised(People())]), Mask())
    assert stream.feed("Ada is here. Gra") == "[PERSON] is here. "
    assert stream.feed("ce too") == ""
    assert stream.finish() == "[PERSON] too"
