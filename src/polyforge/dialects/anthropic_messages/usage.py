"""Anthropic's usage object. Its `input_tokens` leave cached ones out; its `output_tokens` include thoughts."""

from typing import Any

import msgspec

from polyforge.kernel.usage import Usage, told


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """As it stands in an answer, and in two events of a stream."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


def merged(before: WireUsage | None, now: WireUsage) -> WireUsage:
    """What a stream has said so far: its numbers are totals, and what it does not repeat still holds."""
    if before is None:
        return now
    told = {name: value for name in now.__struct_fields__ if (value := getattr(now, name)) is not None}
    return msgspec.structs.replace(before, **told)


def read_usage(wire: WireUsage | None) -> Usage | None:
    """The canonical usage; None for one that says nothing, or nonsense."""
    if wire is None or wire.input_tokens is None:
        return None
    details = wire.output_tokens_details
    return told(
        Usage(
            input=wire.input_tokens,
            cache_read=wire.cache_read_input_tokens or 0,
            cache_write=wire.cache_creation_input_tokens or 0,
            output=wire.output_tokens or 0,
            reasoning=(details.thinking_tokens or 0) if details else 0,
        )
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The object that Anthropic's clients read."""
    written: dict[str, Any] = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return written
