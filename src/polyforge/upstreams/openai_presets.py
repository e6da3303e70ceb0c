"""What the servers differ in that copied OpenAI's API, as data. Sources: their documentation of that API."""

from typing import Final, Literal

import msgspec

from polyforge.dialects.openai_chat.requests import PARAMETERS
from polyforge.upstreams.openai_wire import LimitField

PresetName = Literal["openai", "vllm", "ollama", "llamacpp", "tgi"]


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of server."""

    base_url: str
    """Where it listens unless it is told otherwise."""
    limit_field: LimitField = "max_tokens"
    """How an output limit is spelled."""
    stream_usage: bool = True
    """Whether it can be asked for usage in streams."""
    parameters: frozenset[str]
    """What of the canonical form, and which other fields, a chat can carry."""


_NO_CHOICES: Final = frozenset({"choices", "logit_bias", "user", "tool_choice", "parallel_tool_calls"})
PRESETS: Final[dict[PresetName, Preset]] = {
    "openai": Preset(
        base_url="https://api.openai.com/v1",
        limit_field="max_completion_tokens",
        parameters=PARAMETERS,
    ),
    "vllm": Preset(
        base_url="http://127.0.0.1:8000/v1",
        parameters=PARAMETERS
        | {
            "top_k",
            "min_p",
            "repetition_penalty",
            "length_penalty",
            "min_tokens",
            "stop_token_ids",
            "ignore_eos",
            "skip_special_tokens",
            "chat_template_kwargs",
            "structured_outputs",
            "priority",
        },
    ),
    "ollama": Preset(base_url="http://127.0.0.1:11434/v1", parameters=PARAMETERS - _NO_CHOICES),
    "llamacpp": Preset(
        base_url="http://127.0.0.1:8080/v1",
        parameters=PARAMETERS
        | {
            "top_k",
            "min_p",
            "typical_p",
            "repeat_penalty",
            "repeat_last_n",
            "mirostat",
            "mirostat_tau",
            "mirostat_eta",
            "grammar",
            "chat_template_kwargs",
            "cache_prompt",
        },
    ),
    "tgi": Preset(
        base_url="http://127.0.0.1:8080/v1",
        parameters=PARAMETERS - {"choices", "logit_bias", "user", "parallel_tool_calls", "thinking"},
    ),
}
