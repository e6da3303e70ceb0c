"""Transcripts as OpenAI writes them: their texts, and the same with other texts.

JSON, plain text, SubRip and WebVTT. Source: https://platform.openai.com/docs/api-reference/audio/createTranscription.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from polyforge.dialects.raw import ABSENT, is_given
from polyforge.kernel.sse import event_of

_TIMING: Final = re.compile(r"\s*(?:\d{1,3}:)?\d\d:\d\d[.,]\d{3} --> (?:\d{1,3}:)?\d\d:\d\d[.,]\d{3}[a-z0-9:%,. -]*")
_NUMBER: Final = re.compile(r"\d{1,6}\s*")
_BESIDE: Final = ("task", "language", "duration", "usage")
"""Fields without words of the transcript."""


class _Piece(msgspec.Struct, gc=False):
    text: str = ""


class _Word(msgspec.Struct, gc=False):
    word: str = ""


class _Transcript(msgspec.Struct, gc=False):
    text: str
    segments: list[_Piece] | None = None
    words: list[_Word] | None = None


class TranscriptEvent(msgspec.Struct, gc=False):
    """One event of a transcript that is streamed."""

    type: str = ""
    delta: str = ""
    text: str = ""
    usage: msgspec.Raw = ABSENT


_transcript: Final = msgspec.json.Decoder(_Transcript)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_event: Final = msgspec.json.Decoder(TranscriptEvent)
_encode: Final = msgspec.json.Encoder().encode


def texts_of(body: bytes, *, json: bool) -> list[str]:
    """What was heard; where it is told in several ways, in each. ValueError for what is no transcript."""
    if not json:
        lines = body.decode().split("\n")
        return ["\n".join([lines[place] for place in _spoken(lines)])]
    wire = _transcript.decode(body)
    words = " ".join([each.word for each in wire.words or ()])
    return [wire.text, *[each.text for each in wire.segments or ()], *([words] if words else [])]


def with_text(body: bytes, text: str, *, json: bool) -> bytes:
    """A transcript with another text; times and odds of single words are left out, for they tell the words.

    ValueError where a text of subtitles has other lines than there are.
    """
    if json:
        known = _fields.decode(body)
        return _encode({"text": text, **{name: known[name] for name in _BESIDE if name in known}})
    lines = body.decode().split("\n")
    places, instead = _spoken(lines), text.split("\n")
    if len(places) != len(instead):
        raise ValueError("the text has other lines than the subtitles")
    for place, line in zip(places, instead, strict=True):
        lines[place] = line
    return "\n".join(lines).encode()


def read_event(data: bytes) -> TranscriptEvent:
    """One event; ValueError when it is none."""
    return _event.decode(data)


def write_event(kind: Literal["delta", "done"], text: str, usage: msgspec.Raw = ABSENT) -> bytes:
    """One event as a frame."""
    fields: dict[str, Any] = {"type": f"transcript.text.{kind}", "delta" if kind == "delta" else "text": text}
    return event_of(_encode({**fields, "usage": usage} if is_given(usage) else fields))


def _spoken(lines: Sequence[str]) -> list[int]:
    """The lines that are spoken: of subtitles, all but their times, their numbers and what is before the first."""
    timed = [place for place, line in enumerate(lines) if _TIMING.fullmatch(line)]
    numbers = {place - 1 for place in timed if place and _NUMBER.fullmatch(lines[place - 1])}
    head = {0} if timed and lines[0].strip().lstrip("\ufeff") == "WEBVTT" else set[int]()
    return [place for place in range(len(lines)) if place not in numbers | head | set(timed)]
