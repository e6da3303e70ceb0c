"""A stream gets what the whole text would, as early as it can be."""

import random
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polyforge.privacy.detector import Detector
from polyforge.privacy.kinds import KINDS
from polyforge.privacy.masks import Mask, mask
from polyforge.privacy.matches import Match
from polyforge.privacy.streams import StreamFilter
from tests.unit.privacy.examples import FOUND, HARMLESS, parts

ALL = Detector()
FOUND_TEXTS = [parts(marked)[0] for _, marked in FOUND]
SHORT = 34
# What kinds begin with, go on with and end with, to be put together in ways that nobody thinks of.
SCRAPS = (
    "born", "geb.", "DOB", "march", "Mar", "12", "3", "1985", ".", ",", ":", "-", "/", "(", ")", "+", "00", "49",
    "030", "901820", "98765", "43210", "4111", "1111", "123-45", "Baker", "Street", "Hauptstr.", "straße", "Calle",
    "rue de la", "75002 Paris", "Mumbai", "400001", "New", "IL", "62704", "SW1A", "1AA", "Flat No.", "P.O. Box",
    "password", "is", "=", "token", "hunter2", "sk-", "ghp_", "eyJ", "a@", "@", "b.co", "http:", "//", "u:p@h",
    "AB", "34", "56", "C", "DE89", "3704", "ABCPE1234F", "131052", "-308T", "fe80", "::", "aa:", "00:1A:2B:",
    "192.", "168", "2345 6789 0124", "111.444.777-35", "Aadhaar", "ssn", "जन्म", "१२ मार्च", "को पैदा",
    "-----BEGIN ", "PRIVATE KEY-----", "-----END", "the", "\u200b", "\n", "2345\u200b6789", r"\n", r"\u0040", "\\",
    "e\u0301",
)  # fmt: skip


def filtered(text: str, cuts: list[int], detector: Detector = ALL) -> str:
    stream = StreamFilter(detector, Mask())
    ends = [*cuts, len(text)]
    pieces = [stream.feed(text[start:end]) for start, end in zip([0, *cuts], ends, strict=True)]
    return "".join([*pieces, stream.finish()])


@pytest.mark.parametrize("text", [*FOUND_TEXTS, *HARMLESS])
def test_every_cut_gives_what_the_whole_text_gives(text: str) -> None:
    whole = mask(text, ALL.detect(text))
    assert filtered(text, list(range(len(text)))) == whole
    for cut in range(len(text) + 1):
        assert filtered(text, [cut]) == whole


@pytest.mark.parametrize("text", [text for text in FOUND_TEXTS if len(text) <= SHORT])
def test_every_two_cuts_give_what_the_whole_text_gives(text: str) -> None:
    whole = mask(text, ALL.detect(text))
    for first, second in combinations(range(1, len(text)), 2):
        assert filtered(text, [first, second]) == whole


@given(
    st.lists(st.sampled_from([*FOUND_TEXTS, *HARMLESS]), min_size=1, max_size=4),
    st.sampled_from([" ", ", ", ". ", "\n", "", "-", "@", " the "]),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_any_cuts_give_what_the_whole_text_gives(texts: list[str], between: str, data: st.DataObject) -> None:
    text = between.join(texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    assert filtered(text, cuts) == mask(text, ALL.detect(text))


@given(st.lists(st.tuples(st.sampled_from(SCRAPS), st.sampled_from(["", " ", ", "])), max_size=30))
@example([("जन्म", ""), ("march", " "), ("12", " "), ("1985", "")])
@example([("अ", ""), ("मार्च", " "), ("12", " "), ("1985", " "), ("born", "")])
@settings(max_examples=200, deadline=None)
def test_scraps_of_matches_are_cut_anywhere(scraps: list[tuple[str, str]]) -> None:
    text = "".join(scrap + between for scrap, between in scraps)
    whole = mask(text, ALL.detect(text))
    assert filtered(text, list(range(len(text)))) == whole
    assert filtered(text, [len(text) // 2]) == whole


@given(st.text(alphabet="0123456789 -./()+Aa@:", max_size=150))
@settings(max_examples=200, deadline=None)
def test_signs_of_numbers_are_cut_anywhere(text: str) -> None:
    assert filtered(text, list(range(len(text)))) == mask(text, ALL.detect(text))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (r'{"to": "a\njohn@x.com"}', r'{"to": "a\n[EMAIL]"}'),
        (r'{"to": "john\u0040example.com"}', '{"to": "[EMAIL]"}'),
        (r'{"a": "{\"b\": \"x\\n4111 1111 1111 1111\"}"}', r'{"a": "{\"b\": \"x\\n[CARD]\"}"}'),
        (r"C:\temp\new a@b.co\ ", r"C:\temp\new [EMAIL]\ "),
        ("jose\u0301@x.com", "[EMAIL]"),
        ("GET /x?mail=jane%40acme.co&y", "GET /x?mail=[EMAIL]&y"),
        ("𝐣𝐚𝐧𝐞@𝐚𝐜𝐦𝐞.𝐜𝐨", "[EMAIL]"),
        ("4\ufe0f\u20e3111 1111 1111 1111", "[CARD]"),
    ],
)
def test_values_in_escapes_and_apart_are_hidden_wherever_they_are_cut(text: str, hidden: str) -> None:
    assert mask(text, ALL.detect(text)) == hidden
    assert filtered(text, list(range(len(text)))) == hidden
    for first, second in combinations(range(1, len(text)), 2):
        assert filtered(text, [first, second]) == hidden


LONG = "a1B2c3D4" * 2500
ENDLESS = [
    ("the token eyJhbGciOiJ9.eyJzdWIiO" + LONG + ". Done", "the token [JWT] Done"),
    ("the key sk-" + LONG + "?", "the key [API_KEY]?"),
    ("the key whsec_" + "a/b+" * 500 + "= x", "the key [API_KEY] x"),
    ("-----BEGIN PRIVATE KEY-----\n" + f"{LONG[:64]}\n" * 200 + "; so", "[PRIVATE_KEY]; so"),
    ("password: " + LONG + ", so", "password: [PASSWORD], so"),
    ("see https://me:" + LONG[:900] + "@host.co/path", "see [URL_CREDENTIALS]/path"),
]


@pytest.mark.parametrize(("text", "hidden"), ENDLESS)
@pytest.mark.parametrize("length", [61, 1000, 9001])
def test_what_is_longer_than_is_waited_for_is_hidden_to_its_end(text: str, hidden: str, length: int) -> None:
    assert mask(text, ALL.detect(text)) == hidden
    assert filtered(text, list(range(0, len(text), length))) == hidden


def test_a_long_match_that_is_left_loses_nothing() -> None:
    text, _ = ENDLESS[0]
    stream = StreamFilter(ALL, lambda _match, value: value)
    assert (
        "".join([stream.feed(text[start : start + 100]) for start in range(0, len(text), 100)]) + stream.finish()
        == text
    )


def test_what_goes_on_for_ever_is_not_kept() -> None:
    stream = StreamFilter(Detector(["jwt"]), Mask())
    sent = stream.feed("eyJhbGciOiJ9.eyJzdWIiO" + LONG)
    for _ in range(20):
        sent += stream.feed(LONG)
        assert stream.held == 0
    assert sent + stream.feed(" so") + stream.finish() == "[JWT] so"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone_is_cut_anywhere(kind: str) -> None:
    detector = Detector([kind])
    for text in [text for (name, _), text in zip(FOUND, FOUND_TEXTS, strict=True) if name == kind]:
        assert filtered(text, list(range(len(text))), detector) == mask(text, detector.detect(text))


@pytest.mark.parametrize("kind", KINDS)
def test_text_without_matches_waits_for_no_more_than_the_longest_match(kind: str) -> None:
    stream = StreamFilter(Detector([kind]), Mask())
    source = random.Random(kind)
    for _ in range(600):
        piece = source.choice((*SCRAPS, "1", "1 ", "a", "A", ".", "x"))
        for sign in piece * source.choice((1, 1, 1, 30)):
            stream.feed(sign)
            assert stream.held <= KINDS[kind].longest or stream._settling.current


@pytest.mark.parametrize(
    ("kinds", "text", "sent"),
    [
        (["email"], "Hello, ", "Hello, "),
        (["email"], "Hello, wor", "Hello, "),
        (["email"], "it is (", "it is ("),
        (["card", "phone", "us_ssn"], "Hello, world", "Hello, world"),
        (["card", "phone"], "In 2024 w", "In 2024 w"),
        (["card", "phone"], "In 2024 ", "In "),
        (["address"], "I have 12 apples", "I have 12 apples"),
        (["ip", "mac"], "a world", "a world"),
        (["private_key"], "some text - and", "some text - and"),
        (["private_key"], "so -----BEGIN CERT", "so "),
        (["private_key"], "so -----BEGIN CERTIFICATE-----\n", "so -----BEGIN CERTIFICATE-----\n"),
        (["jwt", "api_key"], "nothing of a ke", "nothing of a ke"),
        (["api_key"], "the s", "the "),
        (["password"], "passing by a house", "passing by a house"),
        (["password"], "password: hun", "password: "),
        (["date_of_birth"], "born in the year", "born in the year"),
        (["us_ssn"], "123-45-6789. ", "[US_SSN]. "),
        (["email"], "a@b.co,", "[EMAIL],"),
    ],
)
def test_what_cannot_begin_a_match_goes_out_at_once(kinds: list[str], text: str, sent: str) -> None:
    stream = StreamFilter(Detector(kinds), Mask())
    assert stream.feed(text) == sent


def test_a_long_harmless_text_flows() -> None:
    stream = StreamFilter(ALL, Mask())
    held: list[int] = []
    for word in ("The ", "committee ", "met ", "on ", "Tuesday ", "and ", "agreed ", "to ", "open ", "earlier ") * 20:
        stream.feed(word)
        held.append(stream.held)
    assert max(held) <= len("committee ")


def test_matches_come_with_their_places_in_the_whole_text() -> None:
    text = "x\u200b" * 100 + " a@b.co " + "y " * 100 + "c@d.\u200bde z"
    seen: list[tuple[Match, str]] = []

    def note(match: Match, value: str) -> str:
        seen.append((match, value))
        return "-"

    stream = StreamFilter(ALL, note)
    for sign in text:
        stream.feed(sign)
    stream.finish()
    assert [match for match, _ in seen] == ALL.detect(text)
    assert [value for _, value in seen] == ["a@b.co", "c@d.\u200bde"]


def test_invisible_characters_stay_where_nothing_is_found() -> None:
    text = "न\u200dम\u200cस्ते 👩\u200d💻 \ufeffok"
    assert filtered(text, list(range(len(text)))) == text


def test_a_replacement_that_raises_lets_nothing_of_the_match_out() -> None:
    def refuse(_match: Match, _value: str) -> str:
        raise PermissionError

    stream = StreamFilter(ALL, refuse)
    sent = stream.feed("mail a")
    with pytest.raises(PermissionError):
        stream.feed("@b.co now")
    assert sent == "mail "


def test_a_long_token_is_masked_in_one_piece() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJ" + "x" * 4000 + ".sig"
    text = f"use {token} now"
    assert filtered(text, list(range(0, len(text), 7))) == "use [JWT] now"


def test_many_invisible_characters_are_no_work() -> None:
    stream = StreamFilter(ALL, Mask())
    sent = stream.feed("see 4111") + "".join(stream.feed("\u200b" * 4) for _ in range(5000))
    assert sent == "see "
    assert stream.held == len("4111")
    assert stream.feed(" 1111 1111 1111,") == "[CARD],"
