"""OpenAI's usage object. Its `prompt_tokens` include cached ones, its `completion_tokens` include thoughts.

At xAI they do not (https://docs.x.ai/docs/key-information/consumption-and-rate-limits): there the sum tells it.
"""

from typing import Any

import msgspec

from polyforge.kernel.usage import Usage, told


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """As it stands in an answer."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


def read_usage(wire: WireUsage | None) -> Usage | None:
    """The canonical usage; None for one that says nothing, or nonsense.

    Thoughts that are not among the tokens of the answer are added to them.
    """
    if wire is None or wire.prompt_tokens is None:
        return None
    prompt, output = wire.prompt_tokens, wire.completion_tokens or 0
    into, out = wire.prompt_tokens_details, wire.completion_tokens_details
    read = _cached(wire)
    written = (into.cache_write_tokens or 0) if into else 0
    if prompt < 0 or output < 0:
        return None
    thoughts = (out.reasoning_tokens or 0) if out else 0
    if thoughts and (thoughts > output or wire.total_tokens == prompt + output + thoughts):
        output += thoughts
    plain = max(0, prompt - read - written)
    heard = _part(into.audio_tokens, plain) if into else 0
    return told(
        Usage(
            input=plain,
            cache_read=read,
            cache_write=written,
            output=output,
            reasoning=thoughts,
            audio_input=heard,
            audio_output=_part(out.audio_tokens, output) if out else 0,
            image_input=_part(into.image_tokens, plain - heard) if into else 0,
        )
    )


def _cached(wire: WireUsage) -> int:
    """Tokens of the prompt that came from the cache, which DeepSeek and Moonshot tell under names of their own."""
    details = wire.prompt_tokens_details
    if details is not None and details.cached_tokens is not None:
        return details.cached_tokens
    return wire.prompt_cache_hit_tokens or wire.cached_tokens or 0


def _part(tokens: int | None, whole: int) -> int:
    """Tokens of a kind, of which there cannot be more than there are at all."""
    return min(max(0, tokens or 0), whole)


def write_usage(usage: Usage) -> dict[str, Any]:
    """The object that OpenAI's clients read."""
    written: dict[str, Any] = {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_input},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if usage.cache_write:
        written["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write
    return written
