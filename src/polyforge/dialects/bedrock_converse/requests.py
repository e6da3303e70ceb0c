"""A chat request written as a Converse request."""

import re
from typing import Any, Final, Literal, cast

import msgspec

from polyforge.dialects.anthropic_messages.requests import DEFAULT_LIMIT
from polyforge.dialects.anthropic_messages.thinking import budget_of, takes_budget, write_thinking
from polyforge.dialects.bedrock_converse.content import TurnWriter, write_system
from polyforge.dialects.json_mode import with_instruction
from polyforge.dialects.openai_chat.requests import effort_of
from polyforge.dialects.parameters import choice_of, is_sequential_anyway
from polyforge.kernel.chat import ChatRequest, OutputFormat, Tool, ToolCall, ToolChoice, ToolResult
from polyforge.kernel.errors import Invalid, Unsupported

Maker = Literal["anthropic", "amazon", "openai", "other"]
"""Who made a model: what Converse has no field for, each maker's models take in their own way, or not at all."""
PARAMETERS: Final = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "output_format",
        "thinking",
        "temperature",
        "top_p",
        "top_k",
        "stop",
    }
)
"""What a request in this dialect can say of the canonical form, with some models at least."""
_KNOWN_MAKER: Final = re.compile(r"(?:^|[./])(anthropic|amazon|openai)\.")
_NAMED_MAKER: Final = re.compile(r"(?:^|/)[a-z0-9-]+\.")
_RICH_RESULTS: Final = frozenset({"anthropic", "amazon"})
_EFFORTS: Final = frozenset({"low", "medium", "high"})
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_encode: Final = msgspec.json.Encoder().encode


class Guardrail(msgspec.Struct, frozen=True):
    """A guardrail of the account that looks at what goes in and out."""

    id: str
    version: str


def write_chat(
    chat: ChatRequest, *, model: str, maker: Maker = "anthropic", guardrail: Guardrail | None = None
) -> bytes:
    """The body of a POST /model/{model}/converse, and of one to converse-stream.

    `maker` counts where the model's name does not say it, as that of an application inference profile. Unsupported, or
    Invalid, for what the dialect or the model cannot carry.
    """
    maker = maker_of(model, maker)
    turns = TurnWriter(rich_results=maker in _RICH_RESULTS).write(chat.messages)
    if not turns:
        raise Invalid("messages must hold something that is said", param="messages")
    thinking, limit = _write_thinking(chat, model, maker)
    tools, more = _write_tools(chat, maker)
    fields: dict[str, Any] = {
        "messages": turns,
        "system": write_system(with_instruction(chat)),
        "inferenceConfig": _write_inference(chat, limit),
        "toolConfig": tools,
        "outputConfig": _write_output(chat.output_format, thinking.pop("output_config", {})),
        "guardrailConfig": _write_guardrail(guardrail),
        "additionalModelRequestFields": thinking | more | _write_top_k(chat.top_k, maker),
    }
    return _encode({name: value for name, value in fields.items() if value})


def maker_of(model: str, unknown: Maker) -> Maker:
    """Whose a model is, by its name; `unknown` where that does not say."""
    if found := _KNOWN_MAKER.search(model):
        return cast(Maker, found[1])
    return "other" if _NAMED_MAKER.search(model) else unknown


def _write_inference(chat: ChatRequest, limit: int | None) -> dict[str, Any]:
    if chat.temperature is not None and chat.temperature > 1:
        raise Unsupported("this model takes a temperature from 0 to 1", param="temperature")
    fields = {
        "maxTokens": limit,
        "temperature": chat.temperature,
        "topP": chat.top_p,
        "stopSequences": chat.stop or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _write_thinking(chat: ChatRequest, model: str, maker: Maker) -> tuple[dict[str, Any], int | None]:
    """The fields in which a model wants to be told how much to think, and the output limit that goes with them."""
    limit, thinking = chat.output_limit, chat.thinking
    if thinking is None:
        return {}, limit
    if maker == "anthropic":
        budgeted = takes_budget(model, "auto")
        if budgeted and limit is None and budget_of(thinking):
            limit = DEFAULT_LIMIT + budget_of(thinking)
        return write_thinking(chat, budgeted=budgeted, limit=limit or DEFAULT_LIMIT), limit
    effort = effort_of(thinking)
    if maker == "openai" and effort in _EFFORTS:
        return {"reasoning_effort": effort}, limit
    if maker == "amazon" and effort in _EFFORTS:
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}, limit
    if maker == "amazon" and effort == "none":
        return {"reasoningConfig": {"type": "disabled"}}, limit
    raise Unsupported("this model cannot be told to think that much", param="reasoning_effort")


def _write_top_k(top_k: int | None, maker: Maker) -> dict[str, Any]:
    if top_k is None:
        return {}
    if maker == "anthropic":
        return {"top_k": top_k}
    if maker == "amazon":
        return {"inferenceConfig": {"topK": top_k}}
    raise Unsupported("this model takes no top_k", param="top_k")


def _write_tools(chat: ChatRequest, maker: Maker) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The tools and how to choose among them; the second is what Converse has no field for.

    There is no choice `none`: the tools are withheld. But where some were called earlier, Converse wants to have tools,
    so that they stay and the model is told in its maker's way.
    """
    choice, alone = choice_of(chat), chat.parallel_tool_calls is False and bool(chat.tools)
    called = _called(chat)
    tools = chat.tools if choice is None or choice.mode != "none" else []
    if not tools and not called:
        return None, {}
    written: dict[str, Any] = {"tools": [_write_tool(tool) for tool in chat.tools or called]}
    if not tools:
        return written, {"tool_choice": {"type": "none"}} if maker == "anthropic" else {}
    if alone and maker != "anthropic" and not is_sequential_anyway(chat):
        raise Unsupported("this model cannot be held to one call at a time", param="parallel_tool_calls")
    if alone and maker == "anthropic":
        return written, {"tool_choice": {**_choose(choice or ToolChoice("auto")), "disable_parallel_tool_use": True}}
    if choice is not None:
        mode = _CHOICES[choice.mode]
        written["toolChoice"] = {mode: {"name": choice.name} if choice.mode == "named" else {}}
    return written, {}


def _choose(choice: ToolChoice) -> dict[str, Any]:
    """The choice as Anthropic writes it."""
    kind = {"type": _CHOICES[choice.mode]}
    return {**kind, "name": choice.name} if choice.mode == "named" else kind


def _called(chat: ChatRequest) -> list[Tool]:
    """The tools that stand in the history."""
    blocks = [block for message in chat.messages for block in message.content]
    names = {block.name: None for block in blocks if isinstance(block, ToolCall)}
    if not names and any(isinstance(block, ToolResult) for block in blocks):
        names = {"tool": None}
    return [Tool(name) for name in names]


def _write_tool(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": tool.parameters or _NO_PARAMETERS}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict:
        spec["strict"] = True
    return {"toolSpec": spec}


def _write_output(wanted: OutputFormat | None, effort: dict[str, Any]) -> dict[str, Any]:
    if wanted is None or wanted.schema is None:
        return effort
    schema = {"name": wanted.name, "schema": bytes(wanted.schema).decode()}
    if wanted.description:
        schema["description"] = wanted.description
    return {**effort, "textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


def _write_guardrail(guardrail: Guardrail | None) -> dict[str, str] | None:
    if guardrail is None:
        return None
    return {"guardrailIdentifier": guardrail.id, "guardrailVersion": guardrail.version}
