"""What a caller asked for that a provider's wire format cannot say: found, so that it is never dropped in silence."""

from typing import Any, Final

import msgspec

from polyforge.kernel.chat import ChatRequest, ToolChoice
from polyforge.kernel.errors import Invalid

_UNSAID: Final = ChatRequest(messages=[])
_OPTIONAL: Final = frozenset(ChatRequest.__struct_fields__) - {"messages", "output_limit", "others"}
_NEUTRAL: Final[dict[str, object]] = {
    "parallel_tool_calls": True,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
}
"""Values that ask for what happens anyway, in fields that clients like to fill."""
NAMES: Final = {
    "output_format": "response_format",
    "thinking": "reasoning_effort",
    "choices": "n",
}
"""What callers call a field where it is not its own name."""
HINTS: Final = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    }
)
"""Fields that change nothing of the answer: a provider that does not know them loses nothing."""


def unsupported(chat: ChatRequest, supported: frozenset[str]) -> list[str]:
    """The names, as callers write them, of what is set but not `supported`, hints left out, in order."""
    needed = [name for name in _set_fields(chat) if name not in HINTS and not _can_do_without(chat, name)]
    missing = [NAMES.get(name, name) for name in needed if name not in supported]
    return sorted(missing + [name for name in chat.others if name not in HINTS and name not in supported])


def without_unsupported(chat: ChatRequest, supported: frozenset[str]) -> ChatRequest:
    """The request as far as `supported` reaches."""
    unset: dict[str, Any] = {name: getattr(_UNSAID, name) for name in _set_fields(chat) if name not in supported}
    others = {name: value for name, value in chat.others.items() if name in supported}
    return msgspec.structs.replace(chat, **unset, others=others)


def choice_of(chat: ChatRequest) -> ToolChoice | None:
    """How to choose among the tools, where there are any: many servers refuse a choice among none, which some clients
    always send. Invalid where a tool must be called, and there is none.
    """
    choice = chat.tool_choice
    if choice is None or chat.tools:
        return choice
    if choice.mode in ("required", "named"):
        raise Invalid("tool_choice wants a tool called, but there are no tools", param="tool_choice")
    return None


def is_sequential_anyway(chat: ChatRequest) -> bool:
    """Whether one tool at most can be called, of which models hardly ever want several calls at once.

    Clients that take the arguments of a call for their answer ask for a single call, and read the first.
    """
    choice = chat.tool_choice
    return len(chat.tools) <= 1 or (choice is not None and choice.mode in ("named", "none"))


def _can_do_without(chat: ChatRequest, name: str) -> bool:
    if name == "parallel_tool_calls":
        return is_sequential_anyway(chat)
    return name == "output_format" and chat.output_format is not None and chat.output_format.prompted


def _set_fields(chat: ChatRequest) -> list[str]:
    return [name for name in _OPTIONAL if getattr(chat, name) not in (getattr(_UNSAID, name), _NEUTRAL.get(name))]
