"""Texts that are given out while their pieces come."""

from collections.abc import Sequence

import pytest

from polyforge.adapters.model_backends.engine.pieces import MOST_WAITING, GrowingText

SPECIAL = "<s>"


class Bytes:
    """Pieces of single bytes, as models fall back to for characters that they do not know; one is special."""

    def split(self, text: str, *, special: bool) -> list[str]:
        del special
        return [f"{byte:02x}" for byte in text.encode()]

    def join(self, pieces: Sequence[str]) -> str:
        return bytes.fromhex("".join(piece for piece in pieces if piece != SPECIAL)).decode(errors="replace")


class Words:
    """Pieces of words, with a space between any two of them."""

    def split(self, text: str, *, special: bool) -> list[str]:
        del special
        return text.split()

    def join(self, pieces: Sequence[str]) -> str:
        return " ".join(piece for piece in pieces if piece != SPECIAL)


def given(growing: GrowingText, pieces: Sequence[str]) -> list[str]:
    return [*(growing.add(piece) for piece in pieces), growing.end()]


@pytest.mark.parametrize("text", ["plain", "zwölf Bären", "日本語", "a 🙂 b", ""])
def test_parts_make_the_text_and_no_character_is_cut(text: str) -> None:
    pieces = Bytes()
    parts = given(GrowingText(pieces), pieces.split(text, special=False))
    assert "".join(parts) == text
    assert not any("�" in part for part in parts)


def test_words_are_given_out_at_once_with_the_space_before_them() -> None:
    assert given(GrowingText(Words()), ["one", "two", "three"]) == ["one", " two", " three", ""]


def test_what_never_becomes_a_character_is_given_out_in_the_end() -> None:
    assert given(GrowingText(Bytes()), ["41", "f0", "9f"]) == ["A", "", "", "�"]
    parts = given(GrowingText(Bytes()), ["80"] * 100)
    assert "".join(parts) == "�" * 100
    assert sum(map(bool, parts)) > 100 // MOST_WAITING


def test_special_pieces_stand_for_nothing_however_many_there_are() -> None:
    growing = GrowingText(Words())
    assert given(growing, ["one", *[SPECIAL] * 1_000, "two"]) == ["one", *[""] * 1_000, " two", ""]
    assert len(growing._window) <= 2 * MOST_WAITING
