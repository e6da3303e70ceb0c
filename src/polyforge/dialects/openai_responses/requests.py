"""A request for a response, read into the canonical form."""

from typing import Final, Literal

import msgspec

from polyforge.dialects.bodies import decode_whole, read_fields
from polyforge.dialects.openai_responses.items import Item, read_items
from polyforge.dialects.raw import ABSENT, given
from polyforge.kernel.chat import ChatRequest, Message, OutputFormat, Text, Thinking, Tool, ToolChoice
from polyforge.kernel.errors import Invalid, Unsupported

_LOGPROBS: Final = "message.output_text.logprobs"
_INCLUDED: Final = frozenset(
    {
        _LOGPROBS,
        "reasoning.encrypted_content",
        "message.input_image.image_url",
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    }
)
"""What an answer may be asked to include: what was thought is always there, and tools that do not run add nothing."""
_NOWHERE: Final = ("background", "conversation", "prompt")
"""What would need more than one call of a model; false or null is as good as nothing."""


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    name: str = "answer"
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None
    description: str | None = None


class _TextOptions(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class _ToolChoice(msgspec.Struct):
    type: str
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list["_ToolChoice"] | None = None


class _Known(msgspec.Struct, kw_only=True):
    input: str | list[Item] | None = None
    instructions: str | list[Item] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: _TextOptions | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    user: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[str] | None = None


_known: Final = msgspec.json.Decoder(_Known)
_NAMES: Final = frozenset(_Known.__struct_fields__) | {
    *_NOWHERE,
    "model",
    "stream",
    "stream_options",
    "previous_response_id",
    "store",
    "metadata",
    "max_tool_calls",
}
_UNSET: Final = frozenset({b"null", b"false"})


def read_chat(body: bytes) -> ChatRequest:
    """The canonical form of a POST /v1/responses whose earlier answers are in `input`.

    Invalid names the field that is wrong, Unsupported what cannot be had here, such as the provider's own tools.
    """
    wire, fields = decode_whole(_known, body), read_fields(body)
    for name in _NOWHERE:
        if name in fields and bytes(fields[name]) not in _UNSET:
            raise Unsupported(f"{name} is not supported here; leave it out", param=name)
    choice, allowed = _read_choice(wire.tool_choice)
    tools = [_read_tool(tool, place) for place, tool in enumerate(wire.tools or ())]
    text = wire.text or _TextOptions()
    others = {name: value for name, value in fields.items() if name not in _NAMES and bytes(value) != b"null"}
    if text.verbosity is not None:
        others["verbosity"] = msgspec.Raw(msgspec.json.encode(text.verbosity))
    if wire.truncation == "auto":
        others["truncation"] = fields["truncation"]
    return ChatRequest(
        messages=_read_instructions(wire.instructions) + read_items(wire.input or []),
        tools=tools if allowed is None else [tool for tool in tools if tool.name in allowed],
        tool_choice=choice,
        parallel_tool_calls=wire.parallel_tool_calls,
        output_format=_read_format(text.format),
        thinking=_read_thinking(wire.reasoning),
        output_limit=wire.max_output_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        logprobs=_wants_logprobs(wire) or None,
        top_logprobs=wire.top_logprobs or None,
        user=wire.user,
        others=others,
    )


def _read_instructions(given: str | list[Item] | None) -> list[Message]:
    if isinstance(given, str):
        return [Message("system", [Text(given)])] if given else []
    return read_items(given) if given else []


def _wants_logprobs(wire: _Known) -> bool:
    for name in wire.include or ():
        if name not in _INCLUDED:
            raise Invalid(f"include: there is no {name[:60]!r}", param="include")
    return bool(wire.top_logprobs) or _LOGPROBS in (wire.include or ())


def _read_tool(tool: _Tool, place: int) -> Tool:
    where = f"tools[{place}]"
    if tool.type != "function":
        raise Unsupported(
            f"{where}.type: the tool {tool.type[:40]!r} is not run here; only functions of your own are", param=where
        )
    if not tool.name:
        raise Invalid(f"{where}.name is missing", param=f"{where}.name")
    return Tool(tool.name, tool.description, given(tool.parameters), tool.strict)


def _read_choice(wire: str | _ToolChoice | None) -> tuple[ToolChoice | None, frozenset[str] | None]:
    """The choice, and the names of the only tools that may be called, None: all of them."""
    if wire is None:
        return None, None
    if isinstance(wire, str):
        if wire not in ("auto", "none", "required"):
            raise Invalid("tool_choice must be auto, none, required or name a function", param="tool_choice")
        return ToolChoice(wire), None
    if wire.type == "function" and wire.name:
        return ToolChoice("named", wire.name), None
    if wire.type == "allowed_tools":
        return ToolChoice(wire.mode or "auto"), frozenset(_name_of(tool) for tool in wire.tools or ())
    raise Unsupported(f"tool_choice: {wire.type[:40]!r} is not supported here", param="tool_choice")


def _name_of(tool: _ToolChoice) -> str:
    if tool.type != "function" or not tool.name:
        raise Unsupported(f"tool_choice.tools: {tool.type[:40]!r} is not supported here", param="tool_choice")
    return tool.name


def _read_format(wire: _Format | None) -> OutputFormat | None:
    if wire is None or wire.type == "text":
        return None
    if wire.type == "json_object":
        return OutputFormat("json_object")
    schema = given(wire.schema)
    if schema is None:
        raise Invalid("text.format.schema is missing", param="text.format.schema")
    return OutputFormat("json_schema", wire.name, schema, wire.strict, wire.description)


def _read_thinking(wire: _Reasoning | None) -> Thinking | None:
    if wire is None:
        return None
    shown = (wire.summary or wire.generate_summary) is not None or None
    return Thinking(effort=wire.effort, shown=shown) if wire.effort is not None or shown else None
