"""Texts as detectors read them."""

from hypothesis import given
from hypothesis import strategies as st

from polyforge.privacy.folding import INVISIBLE, Folded, Offsets, fold


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


@given(st.text(alphabet=st.one_of(st.sampled_from(INVISIBLE + "१a-"), st.characters()), max_size=40))
def test_each_character_that_stays_keeps_its_place(text: str) -> None:
    folded = fold(text)
    offsets = Offsets(folded.gaps)
    kept = [text[offsets.start(place) : offsets.end(place + 1)] for place in range(len(folded.text))]
    assert [fold(sign).text for sign in kept] == list(folded.text)
    assert all(len(sign) == 1 for sign in kept)


@given(st.text(max_size=40), st.integers(0, 40))
def test_a_text_folds_as_its_pieces_do(text: str, cut: int) -> None:
    assert fold(text).text == fold(text[:cut]).text + fold(text[cut:]).text
