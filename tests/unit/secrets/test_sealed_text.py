"""Sealed values in columns of text."""

import pytest

from polyforge.secrets.sealed_text import (
    HEAD_LENGTH,
    MARK,
    head_of,
    open_text,
    seal_again,
    seal_text,
    sealed_bytes,
)
from polyforge.secrets.sealing import MasterKeys, Unsealable

OLD, NEW = b"o" * 32, b"n" * 32
MASTER = MasterKeys([NEW])


@pytest.mark.parametrize("value", ["", "{}", '{"name": "Ann"}', "जी" * 10, "long " * 10_000])
def test_what_was_sealed_is_opened(value: str) -> None:
    sealed = seal_text(MASTER, value, "row/1")
    assert value == "" or value not in sealed
    assert sealed.isascii()
    assert open_text(MASTER, sealed, "row/1") == value


def test_what_was_never_sealed_is_read_as_it_is() -> None:
    assert open_text(MASTER, '{"a": 1}', "row/1") == '{"a": 1}'


def test_it_does_not_open_in_another_row() -> None:
    with pytest.raises(Unsealable):
        open_text(MASTER, seal_text(MASTER, "{}", "row/1"), "row/2")


def test_long_texts_take_less_room() -> None:
    assert len(seal_text(MASTER, "word " * 2_000, "row/1")) < 1_000


def test_how_it_begins_tells_the_master_key() -> None:
    before = MasterKeys([OLD])
    sealed = seal_text(before, "{}", "row/1")
    assert sealed[:HEAD_LENGTH] == head_of(before) != head_of(MASTER)
    assert sealed.startswith(MARK)
    assert MasterKeys.sealed_with(sealed_bytes(sealed[:HEAD_LENGTH])) == before.current
    again = seal_again(MasterKeys([NEW, OLD]), sealed, "row/1")
    assert again[:HEAD_LENGTH] == head_of(MASTER)
    assert open_text(MASTER, again, "row/1") == "{}"
