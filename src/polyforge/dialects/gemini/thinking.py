"""How much a Gemini model shall think: levels since generation 3, a budget of tokens before.

Source: https://ai.google.dev/gemini-api/docs/thinking and, for the names of efforts,
https://ai.google.dev/gemini-api/docs/openai#thinking.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from polyforge.kernel.chat import Thinking
from polyforge.kernel.errors import Invalid

NEWEST: Final = 3
"""The generation that names without a number mean, such as `gemini-flash-latest`."""
_NUMBER: Final = re.compile(r"gemini-(\d{1,2})(?:\D|$)")
_LEVELS: Final = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_BUDGETS: Final = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
_PRO_RANGE: Final = (128, 32_768)
_FLASH_RANGE: Final = (0, 24_576)
_T = TypeVar("_T")


def generation(model: str) -> int:
    """Which generation a model belongs to; the newest where its name does not say, 0 for one that is no Gemini."""
    if "gemini" not in model:
        return 0
    number = _NUMBER.search(model)
    return int(number[1]) if number else NEWEST


def write_thinking(thinking: Thinking | None, model: str) -> dict[str, Any] | None:
    """The `thinkingConfig`; Invalid for an effort without a meaning here.

    Models that cannot do without thoughts get the least that they take, others the nearest to what was asked.
    """
    if thinking is None:
        return None
    written = _write_budget(thinking, model) if 0 < generation(model) < NEWEST else _write_level(thinking, model)
    if thinking.shown is not None:
        written["includeThoughts"] = thinking.shown
    return written or None


def _write_level(thinking: Thinking, model: str) -> dict[str, Any]:
    if thinking.effort is None and thinking.budget:
        return {"thinkingBudget": thinking.budget}
    if thinking.effort is None and thinking.budget is None:
        return {}
    level = _known(_LEVELS, thinking.effort or "none")
    return {"thinkingLevel": "low" if level == "minimal" and "pro" in model else level}


def _write_budget(thinking: Thinking, model: str) -> dict[str, Any]:
    budget = thinking.budget
    if thinking.effort is not None:
        budget = _known(_BUDGETS, thinking.effort)
    if budget is None:
        return {}
    least, most = _PRO_RANGE if "pro" in model else _FLASH_RANGE
    return {"thinkingBudget": max(least, min(most, budget))}


def _known(values: Mapping[str, _T], effort: str) -> _T:
    if effort not in values:
        raise Invalid(f"reasoning_effort: this model knows {', '.join(values)}", param="reasoning_effort")
    return values[effort]
