"""OpenAI's usage object. Its `prompt_tokens` include cached ones, its `completion_tokens` include thoughts."""

from typing import Any

import msgspec

from polyforge.kernel.usage import Usage


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """As it stands in an answer."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


def read_usage(wire: WireUsage | None) -> Usage | None:
    """The canonical usage; None for one that says nothing, or nonsense."""
    if wire is None or wire.prompt_tokens is None:
        return None
    prompt, output = wire.prompt_tokens, wire.completion_tokens or 0
    into, out = wire.prompt_tokens_details, wire.completion_tokens_details
    read = (into.cached_tokens or 0) if into else 0
    written = (into.cache_write_tokens or 0) if into else 0
    if prompt < 0 or output < 0 or read < 0 or written < 0:
        return None
    reasoning = (out.reasoning_tokens or 0) if out else 0
    return Usage(
        input=max(0, prompt - read - written), cache_read=read, cache_write=written, output=output, reasoning=reasoning
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The object that OpenAI's clients read."""
    written: dict[str, Any] = {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if usage.cache_write:
        written["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write
    return written
