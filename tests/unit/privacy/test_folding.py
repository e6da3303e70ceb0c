"""Texts as detectors read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.privacy.folding import INVISIBLE, Folded, Offsets, cut_escape, fold


def test_ascii_stays() -> None:
    assert fold("a 1-2\n") == Folded("a 1-2\n")


def test_digits_of_every_script_and_full_width_signs() -> None:
    assert fold("१२३ ٤٥٦ ৭৮৯ ௧ ０").text == "123 456 789 1 0"
    assert fold("ａ＠ｂ．ｃ").text == "a@b.c"
    assert fold("𝟏𝟐").text == "12"
    assert fold("a–b\u00a0c").text == "a-b c"


def test_letters_and_marks_stay() -> None:
    assert fold("हिन्दी émigré 日本").text == "हिन्दी émigré 日本"


def test_invisible_characters_are_taken_out() -> None:
    folded = fold("\u200ba\u200b\u200bb\u200b")
    assert folded == Folded("ab", [(0, 1), (1, 2), (2, 1)])
    offsets = Offsets(folded.gaps)
    assert [offsets.start(0), offsets.end(1), offsets.start(1), offsets.end(2)] == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"\n4111", "\n4111"),
        (r"a\u0040b", "a@b"),
        (r"\"a\": \\\"b\\\"", '"a": "b"'),
        (r"http:\/\/h", "http://h"),
        (r"1\u200b2\uFF13", "123"),
        (r"\ud83d\ude00", "\ufffd\ufffd"),
        (r"\x \d \u12 \\", r"\x \d \u12 \\"),
        ("4\ufe0f\u20e31\U000e00201\u31641", "4111"),
        ("１＼n", "1＼n"),
        ("a%40b %4 %", "a@b %4 %"),
        ("𝐣𝒂𝗻𝚎", "jane"),
    ],
)
def test_escapes_and_what_cannot_be_seen(text: str, read: str) -> None:
    assert fold(text).text == read


def test_an_escape_is_one_character_where_it_begins_and_where_it_ends() -> None:
    text = r"x\u0040\u200by"
    offsets = Offsets(fold(text).gaps)
    assert [offsets.start(1), offsets.end(2), offsets.start(2), offsets.end(3)] == [1, 7, 13, 14]


@given(st.text(alphabet=st.one_of(st.sampled_from(INVISIBLE + "१a-\\nu0%4"), st.characters()), max_size=40))
def test_each_character_that_stays_keeps_its_place(text: str) -> None:
    folded = fold(text)
    offsets = Offsets(folded.gaps)
    kept = [text[offsets.start(place) : offsets.end(place + 1)] for place in range(len(folded.text))]
    assert [fold(sign).text for sign in kept] == list(folded.text)
    assert all(len(sign) == 1 or sign.startswith(("\\", "%")) for sign in kept)


@given(st.text(st.one_of(st.sampled_from("\\nu004%"), st.characters()), max_size=40), st.integers(0, 40))
def test_a_text_folds_as_its_pieces_do(text: str, cut: int) -> None:
    cut = cut_escape(text[:cut])
    assert fold(text).text == fold(text[:cut]).text + fold(text[cut:]).text
