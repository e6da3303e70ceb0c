"""Texts as the pieces that a model was trained on and back: tokenizer.json, or SentencePiece's models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import sentencepiece  # pyright: ignore[reportMissingTypeStubs]  # it has none
from tokenizers import Tokenizer

from polyforge.adapters.model_backends.engine.files import read_bytes
from polyforge.kernel.errors import Invalid

SOURCE_NAMES: Final = ("source.spm", "sentencepiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model")
TARGET_NAMES: Final = ("target.spm", *SOURCE_NAMES)
INCOMPLETE: Final = "\N{REPLACEMENT CHARACTER}"
"""What a decoder puts where bytes of a character are missing, as they are before the next piece comes."""
MOST_WAITING: Final = 16
"""Pieces that wait to be a character; no character has so many bytes, so these are none."""
_sentencepiece = cast(Any, sentencepiece)


class Pieces(Protocol):
    """One tokenizer; may be used from several threads."""

    def split(self, text: str, *, special: bool) -> list[str]:
        """The text in pieces, with those that the model's own tokenizer puts around it if `special`."""
        ...

    def join(self, pieces: Sequence[str]) -> str:
        """The text that pieces stand for, without special ones."""
        ...


class GrowingText:
    """The text of pieces that come one by one, given out in parts that are never taken back.

    A part waits while its last character may still be incomplete. Only the last pieces are joined again, with one part
    before them, since what a piece stands for depends on those beside it.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._join = pieces.join
        self._window: list[str] = []
        self._given = 0
        """How many pieces of the window were given out as text."""

    def add(self, piece: str) -> str:
        """What can be given out now that there is this piece; nothing when more have to come."""
        self._window.append(piece)
        part = self._part()
        patient = len(self._window) - self._given < MOST_WAITING
        if patient and (not part or part.endswith(INCOMPLETE)):
            return ""
        if not part:
            # Special ones, which stand for no text.
            del self._window[self._given :]
            return ""
        self._window, self._given = self._window[self._given :], len(self._window) - self._given
        return part

    def end(self) -> str:
        """What is left; no more pieces come."""
        return self._part()

    def _part(self) -> str:
        return self._join(self._window)[len(self._join(self._window[: self._given])) :]


class _Tokenizers:
    def __init__(self, content: bytes) -> None:
        try:
            self._tokenizer = Tokenizer.from_buffer(content)
        except BaseException as error:
            raise Invalid(f"tokenizer.json: {_why(error)}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def split(self, text: str, *, special: bool) -> list[str]:
        try:
            return self._tokenizer.encode(text, add_special_tokens=special).tokens
        except BaseException as error:
            raise Invalid(f"the model's tokenizer cannot read this: {_why(error)}", param="text") from error

    def join(self, pieces: Sequence[str]) -> str:
        ids = (self._tokenizer.token_to_id(piece) for piece in pieces)
        return self._tokenizer.decode([number for number in ids if number is not None], skip_special_tokens=True)


class _SentencePiece:
    def __init__(self, content: bytes, name: str) -> None:
        try:
            self._processor = _sentencepiece.SentencePieceProcessor(model_proto=content)
        except (RuntimeError, ValueError) as error:
            raise Invalid(f"{name}: it is no model of SentencePiece") from error

    def split(self, text: str, *, special: bool) -> list[str]:
        del special
        return cast(list[str], self._processor.encode(text, out_type=str))

    def join(self, pieces: Sequence[str]) -> str:
        return cast(str, self._processor.decode(list(pieces)))


def read_pieces(folder: Path, names: Sequence[str]) -> Pieces:
    """The tokenizer of a folder: tokenizer.json, or the first of `names` that is there; Invalid when there is none."""
    content = read_bytes(folder, "tokenizer.json")
    if content is not None:
        return _Tokenizers(content)
    for name in names:
        content = read_bytes(folder, name)
        if content is not None:
            return _SentencePiece(content, name)
    raise Invalid(f"there is no tokenizer: looked for tokenizer.json, {', '.join(names)}")


def _why(error: BaseException) -> str:
    """What the library says, which raises a bare Exception whatever is wrong, or panics; anything else goes on."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    return str(error)
