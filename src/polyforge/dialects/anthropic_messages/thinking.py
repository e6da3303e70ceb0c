"""How much to think, in Anthropic's two ways: a number of tokens, or an effort by name with the model choosing.

Source: https://docs.claude.com/en/docs/build-with-claude/thinking.
"""

import re
from typing import Any, Final, Literal

import msgspec

from polyforge.kernel.chat import Block, ChatRequest, Message, Reasoning, Text, Thinking
from polyforge.kernel.errors import Invalid, Unsupported

ThinkingStyle = Literal["auto", "adaptive", "budget"]
"""How a model wants it: `auto` goes by its name, `budget` is what models before Claude 4.6 understand."""
LEAST_BUDGET: Final = 1024
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_BUDGETS: Final = {"low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 65_536}
_OLD_MODEL: Final = re.compile(r"claude-(?:[123]\b|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:$|[@:]|-latest|-v\d|-\d{8}))")
_LEAST_TOP_P: Final = 0.95


class WireThinking(msgspec.Struct):
    """The field `thinking`."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


def read_thinking(wire: WireThinking | None, effort: str | None) -> Thinking | None:
    """The canonical form of `thinking` and `output_config.effort`."""
    if wire is None:
        return None if effort is None else Thinking(effort=effort)
    if wire.type == "disabled":
        return Thinking(budget=0)
    if wire.type not in ("enabled", "adaptive"):
        raise Unsupported(f"thinking of the type {wire.type[:40]!r} is not supported by this model", param="thinking")
    if wire.type == "enabled" and wire.budget_tokens is None:
        raise Invalid("thinking.budget_tokens is missing", param="thinking.budget_tokens")
    shown = None if wire.display is None else wire.display != "omitted"
    return Thinking(effort=effort, budget=wire.budget_tokens, shown=shown)


def takes_budget(model: str, style: ThinkingStyle) -> bool:
    """Whether a model wants a number of tokens, and not an effort."""
    return style == "budget" or (style == "auto" and _OLD_MODEL.search(model) is not None)


def write_thinking(chat: ChatRequest, *, budgeted: bool, limit: int) -> dict[str, Any]:
    """The fields that say it; `limit` is what `max_tokens` will be, of which a budget is a part.

    Unsupported where the rest of the request does not go with thinking.
    """
    thinking = chat.thinking
    if thinking is None:
        return {}
    if thinking.budget == 0 or thinking.effort == "none":
        return {"thinking": {"type": "disabled"}}
    if budgeted and _has_lost_thoughts(chat.messages):
        return {}
    _check_sampling(chat)
    shown = {} if thinking.shown is None else {"display": "summarized" if thinking.shown else "omitted"}
    if budgeted:
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(thinking, limit), **shown}}
    fields: dict[str, Any] = {"thinking": {"type": "adaptive", **shown}}
    if (effort := _effort(thinking)) is not None:
        fields["output_config"] = {"effort": effort}
    return fields


def _has_lost_thoughts(messages: list[Message]) -> bool:
    """Whether the model has begun its turn, with calls of tools, and what it thought first is not there.

    Many clients do not send it back, and models that think by a budget are refused the rest of such a turn.
    """
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
    begun = next((message for message in messages[last + 1 :] if message.role == "assistant"), None)
    if begun is None:
        return False
    first = next((block for block in begun.content if not _is_left_out(block)), None)
    return not isinstance(first, Reasoning)


def _is_left_out(block: Block) -> bool:
    """Whether it is never sent: a blank text, or a thought that nobody signed."""
    if isinstance(block, Reasoning):
        return block.signature is None and block.encrypted is None
    return isinstance(block, Text) and not block.text.strip()


def budget_of(thinking: Thinking | None) -> int:
    """Tokens to think with, before any limit; 0: none."""
    if thinking is None or thinking.effort == "none":
        return 0
    if thinking.budget is not None:
        return thinking.budget and max(LEAST_BUDGET, thinking.budget)
    return _BUDGETS[_effort(thinking) or "medium"]


def _budget(thinking: Thinking, limit: int) -> int:
    if limit <= LEAST_BUDGET:
        raise Unsupported(f"this model thinks only with an output limit above {LEAST_BUDGET}", param="reasoning_effort")
    return min(budget_of(thinking), limit - 1)


def _effort(thinking: Thinking) -> str | None:
    """The effort by name that was asked for, or that a number of tokens stands for."""
    if thinking.effort is not None:
        known = _EFFORTS.get(thinking.effort)
        if known is None:
            raise Unsupported(f"there is no effort {thinking.effort[:40]!r} at this provider", param="reasoning_effort")
        return known
    if thinking.budget is None:
        return None
    return next((name for name, most in _BUDGETS.items() if thinking.budget <= most), "max")


def _check_sampling(chat: ChatRequest) -> None:
    """Thinking goes with no sampling but the default, and with no tool that must be called."""
    if chat.temperature not in (None, 1):
        raise Unsupported("this model thinks only at temperature 1; leave it out", param="temperature")
    if chat.top_k is not None:
        raise Unsupported("this model takes no top_k while it thinks; leave it out", param="top_k")
    if chat.top_p is not None and chat.top_p < _LEAST_TOP_P:
        raise Unsupported(f"this model takes top_p from {_LEAST_TOP_P} while it thinks", param="top_p")
    if chat.tool_choice is not None and chat.tool_choice.mode in ("required", "named"):
        raise Unsupported("this model cannot think and be made to call a tool; use auto", param="tool_choice")
