"""Tokens of a text whose tokenizer is not at hand: a likely number by measured ratios, between bounds that hold.

Measured with six tokenizers (OpenAI's two, Qwen's, DeepSeek's, Llama's, Mistral's) on English and Hindi prose, Python,
HTML and tables of numbers. High: a token stands for at least one byte of text, normalised or not. Low: no tokenizer of
these merges what lies on both sides of a space between words, and none has tokens of more than 128 bytes.
"""

import re
import unicodedata
from typing import Final

from polyforge.tokens.count import Range

_LONGEST_TOKEN: Final = 128
_SLICE: Final = 65_536
"""Looked at in one go: other threads wait meanwhile."""
_WORD: Final = re.compile(r"(?<![^ \n\t])[A-Za-z0-9]")
_LETTERS: Final = re.compile(r"[A-Za-z]+")
_DIGITS: Final = re.compile(r"[0-9]")
_ASCII_SIGNS: Final = re.compile(r"[!-/:-@\[-`{-~]")
_OTHERS: Final = re.compile(r"[^\x00-\x7f]")
_LETTER_WEIGHT: Final = 0.11
_WORD_WEIGHT: Final = 0.65
_DIGIT_WEIGHT: Final = 0.7
_SIGN_WEIGHT: Final = 0.6
_OTHER_WEIGHT: Final = 0.9


def estimate(text: str) -> Range:
    """The likely number of tokens in a text, and its bounds."""
    if not text:
        return Range(0, 0, 0)
    total = Range(0, 0, 0)
    for start in range(0, len(text), _SLICE):
        total += _estimate(text[start : start + _SLICE])
    # A word that a slice ends in was counted twice. Some tokenizers put a space before the text.
    seams = (len(text) - 1) // _SLICE
    low = max(total.low - seams, 1)
    return Range(min(max(total.likely, low), total.high), low, total.high + 1)


def _estimate(text: str) -> Range:
    size = _bytes(text)
    high = size if text.isascii() else max(size, _bytes(unicodedata.normalize("NFKC", text)))
    low = max(len(_WORD.findall(text)), -(-size // _LONGEST_TOKEN))
    return Range(min(max(round(_likely(text)), low), high), low, high)


def _likely(text: str) -> float:
    words = _LETTERS.findall(text)
    return (
        _WORD_WEIGHT * len(words)
        + _LETTER_WEIGHT * sum(map(len, words))
        + _DIGIT_WEIGHT * len(_DIGITS.findall(text))
        + _SIGN_WEIGHT * len(_ASCII_SIGNS.findall(text))
        + _OTHER_WEIGHT * len(_OTHERS.findall(text))
    )


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
