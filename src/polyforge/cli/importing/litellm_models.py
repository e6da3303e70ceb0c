"""What LiteLLM says of a deployment beside where it is: task, costs, limits, abilities. Pure data into pure data."""

import re
from collections.abc import Mapping
from typing import Final

from polyforge.cli.importing.findings import Tree, number, whole

TASKS: Final[dict[str, str]] = {
    "chat": "chat",
    "responses": "chat",
    "completion": "completion",
    "embedding": "embedding",
    "image_generation": "image_generation",
    "audio_transcription": "transcription",
    "audio_speech": "speech",
    "moderation": "moderation",
}
"""`model_info.mode`, in our words."""
TEXT_TASKS: Final = frozenset({"chat", "completion", "embedding"})
"""What every provider is asked for; the others only OpenAI and what speaks its API."""
_TELLING: Final = (
    (re.compile("embed"), "embedding"),
    (re.compile("whisper|transcribe"), "transcription"),
    (re.compile("^tts-|-tts$"), "speech"),
    (re.compile("dall-e|gpt-image"), "image_generation"),
    (re.compile("moderation"), "moderation"),
)
"""The task of a model whose mode nobody gives, by its name, as LiteLLM's own table would tell."""
_PER_TOKEN: Final[dict[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "output_cost_per_reasoning_token": "reasoning",
}
_PER_THING: Final[dict[str, str]] = {
    "output_cost_per_image": "per_image",
    "input_cost_per_second": "per_second",
    "output_cost_per_second": "per_second",
    "input_cost_per_character": "per_character",
}
_TIER: Final = re.compile(r"(?P<rate>\w+)_above_(?P<thousands>\d{1,4})k_tokens")
_PER_MILLION: Final = 1_000_000
_DIGITS: Final = 9
_ABILITIES: Final[dict[str, str]] = {
    "supports_vision": "vision",
    "supports_function_calling": "tools",
    "supports_response_schema": "structured_output",
}
_TOLD: Final = frozenset({"mode", "max_input_tokens", "max_output_tokens", "max_tokens", "id"})


def task_of(info: Mapping[str, object], model: str) -> str | None:
    """The task of a deployment; None for a mode that we do not have."""
    mode = info.get("mode")
    if mode is not None:
        return TASKS.get(str(mode))
    return next((task for pattern, task in _TELLING if pattern.search(model.lower())), "chat")


def is_price(name: str) -> bool:
    """Whether a parameter is a price that we know."""
    tier = _TIER.fullmatch(name)
    return (tier["rate"] if tier else name) in _PER_TOKEN or name in _PER_THING


def is_told(name: str) -> bool:
    """Whether a part of `model_info` has a counterpart, or needs none."""
    return name in _TOLD or name in _ABILITIES or is_price(name)


def cost_of(told: Mapping[str, object], path: str) -> Tree | None:
    """Its cost, from what is told of it; None when that is nothing."""
    cost: Tree = {}
    tiers: dict[int, Tree] = {}
    for name, value in told.items():
        if value is None or not is_price(name):
            continue
        paid = number(value, f"{path}.{name}")
        if tier := _TIER.fullmatch(name):
            rates = tiers.setdefault(1_000 * int(tier["thousands"]), {})
            rates[_PER_TOKEN[tier["rate"]]] = _per_million(paid)
        elif name in _PER_TOKEN:
            cost[_PER_TOKEN[name]] = _per_million(paid)
        elif paid or _PER_THING[name] not in cost:
            cost[_PER_THING[name]] = paid
    if not cost:
        return None
    listed = [{"above": above, **rates} for above, rates in sorted(tiers.items())]
    return {**cost, "tiers": listed} if listed else cost


def _per_million(paid: float) -> float:
    return round(paid * _PER_MILLION, _DIGITS)


def limits_of(info: Mapping[str, object], path: str) -> Tree:
    """The most tokens that it takes and gives."""
    context = info.get("max_input_tokens")
    output = info.get("max_output_tokens", info.get("max_tokens"))
    limits = {"context": context, "output": output}
    return {name: whole(value, f"{path}.{name}") for name, value in limits.items() if value}


def capabilities_of(info: Mapping[str, object]) -> Tree:
    """What it can do."""
    return {ours: bool(info[theirs]) for theirs, ours in _ABILITIES.items() if info.get(theirs) is not None}
