"""The usage objects in OpenAI's answers about images and audio, which are not those of its chats."""

from typing import Final

import msgspec

from polyforge.kernel.usage import Usage, told

_LONGEST_SECONDS: Final = 1_000_000.0


class _Details(msgspec.Struct, gc=False):
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """As it stands in an answer, or in the last event of a stream."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    input_tokens_details: _Details | None = None
    input_token_details: _Details | None = None
    output_tokens_details: _Details | None = None


def read_usage(wire: WireUsage | None) -> Usage | None:
    """The canonical usage; None for one that says nothing, or nonsense."""
    if wire is None:
        return None
    if wire.input_tokens is None:
        milliseconds = milliseconds_of(wire.seconds)
        return None if milliseconds is None else Usage(milliseconds=milliseconds)
    whole, output = wire.input_tokens, wire.output_tokens or 0
    into = wire.input_tokens_details or wire.input_token_details or _Details()
    out = wire.output_tokens_details or _Details()
    if whole < 0:
        return None
    cached = _part(into.cached_tokens, whole)
    heard = _part(into.audio_tokens, whole - cached)
    return told(
        Usage(
            input=whole - cached,
            cache_read=cached,
            output=output,
            audio_input=heard,
            audio_output=_part(out.audio_tokens, output),
            image_input=_part(into.image_tokens, whole - cached - heard),
        )
    )


def milliseconds_of(seconds: float | None) -> int | None:
    """The length of an audio, rounded up; None where it is not said, or nonsense."""
    if seconds is None or not 0 <= seconds <= _LONGEST_SECONDS:
        return None
    return -int(-seconds * 1000 // 1)


def _part(tokens: int | None, whole: int) -> int:
    return min(max(0, tokens or 0), max(0, whole))
