"""Gemini's usageMetadata. Cached tokens are inside `promptTokenCount`, thoughts beside `candidatesTokenCount`."""

import msgspec

from polyforge.kernel.usage import Usage, told


class WireUsage(msgspec.Struct, rename="camel", gc=False):
    """As it stands in an answer, and in each piece of a stream; the last one counts."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None


def read_usage(wire: WireUsage | None) -> Usage | None:
    """The canonical usage; None for one that says nothing, or nonsense.

    Where the total says that a server counted the thoughts among the candidates' tokens, they are not added again.
    """
    if wire is None or wire.prompt_token_count is None:
        return None
    prompt = wire.prompt_token_count + (wire.tool_use_prompt_token_count or 0)
    cached = wire.cached_content_token_count or 0
    answer, thoughts = wire.candidates_token_count or 0, wire.thoughts_token_count or 0
    if min(prompt, cached, answer) < 0:
        return None
    included = thoughts <= answer and wire.total_token_count == prompt + answer
    output = answer if included else answer + thoughts
    return told(Usage(input=max(0, prompt - cached), cache_read=min(cached, prompt), output=output, reasoning=thoughts))
