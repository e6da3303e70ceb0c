"""Requests to /api/v1/chat and /api/v1/completion, read as far as routing needs it, and into the canonical form."""

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from polyforge.dialects.bodies import decode_body, decode_whole
from polyforge.dialects.end_users import LONGEST_END_USER
from polyforge.dialects.openai_chat.facts import MOST_OUTPUT, check_model_name
from polyforge.dialects.platform.parts import FilePart, ImagePart, Part, ToolCallPart, read_content
from polyforge.dialects.raw import given
from polyforge.kernel.chat import ChatRequest, Message, OutputFormat, Text, Thinking, Tool, ToolChoice
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest

MOST_STOPS: Final = 16
_T = TypeVar("_T")
_Limit = Annotated[int, Meta(ge=1, le=MOST_OUTPUT, description="The most tokens of the answer.")]
EndUser = Annotated[
    str, Meta(max_length=LONGEST_END_USER, description="Whom you ask for, in your words: limits and usage know them.")
]
_Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Schema = Annotated[msgspec.Raw, Meta(description="A JSON schema.", extra_json_schema={"type": "object"})]
_Effort = Annotated[str, Meta(max_length=32, description="How much to think first, as in `low` or `high`.")]
_Stops = Annotated[list[str], Meta(max_length=MOST_STOPS, description="Texts at which the answer ends.")]


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True):
    """One turn: a text, or parts. Results of tools stand in messages of the role `tool`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[Part]


class ToolSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A function that the model may call; `parameters` is its JSON schema."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: _Schema = msgspec.field(default_factory=msgspec.Raw)


class ToolName(msgspec.Struct, forbid_unknown_fields=True):
    """The one tool that must be called."""

    name: str


class _Sampling(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: Annotated[str, Meta(description="A name that GET /v1/models lists.")]
    system: Annotated[str | None, Meta(description="What the model shall know and obey throughout.")] = None
    max_output_tokens: _Limit | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: _Stops = []
    seed: _Seed | None = None
    stream: Annotated[bool, Meta(description="Whether the answer comes as server-sent events.")] = False
    user: EndUser = ""


class ChatBody(_Sampling, kw_only=True, forbid_unknown_fields=True):
    """A conversation to be continued."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    tools: list[ToolSpec] = []
    tool_choice: Literal["auto", "none", "required"] | ToolName | None = None
    response_schema: _Schema = msgspec.field(default_factory=msgspec.Raw)
    reasoning_effort: _Effort | None = None


class CompletionBody(_Sampling, kw_only=True, forbid_unknown_fields=True):
    """A prompt to be answered, asked as one message of the user."""

    prompt: Annotated[str, Meta(min_length=1)]


_chat: Final = msgspec.json.Decoder(ChatBody)
_completion: Final = msgspec.json.Decoder(CompletionBody)


def decode_chat(body: bytes) -> InferenceRequest:
    """The request in POST /api/v1/chat; Invalid names the field that is wrong."""
    wire = decode_body(_chat, body)
    contents = [part for message in wire.messages if isinstance(message.content, list) for part in message.content]
    calls = sum(isinstance(part, ToolCallPart) for part in contents)
    request = _request(wire, body)
    request.parts = 1 + len(wire.messages) + len(contents) + calls + len(wire.tools)
    request.images = sum(isinstance(part, ImagePart | FilePart) for part in contents)
    request.tools = bool(wire.tools)
    request.structured = _object_of(wire.response_schema, "response_schema") is not None
    return request


def decode_completion(body: bytes) -> InferenceRequest:
    """The request in POST /api/v1/completion; Invalid names the field that is wrong."""
    return _request(decode_body(_completion, body), body)


def _request(wire: _Sampling, body: bytes) -> InferenceRequest:
    check_model_name(wire.model)
    return InferenceRequest(
        task="chat",
        dialect="platform",
        model=wire.model,
        body=body,
        stream=wire.stream,
        wants_usage=True,
        output_limit=wire.max_output_tokens,
        parts=2,
        end_user=wire.user,
    )


def read_chat(body: bytes) -> ChatRequest:
    """The canonical form of a POST /api/v1/chat; Invalid names what has no place in it."""
    wire = decode_whole(_chat, body)
    chat = _read_sampling(wire, _read_messages(wire.messages))
    chat.tools = [_read_tool(tool, f"tools[{place}]") for place, tool in enumerate(wire.tools)]
    chat.tool_choice = _read_choice(wire.tool_choice)
    schema = _object_of(wire.response_schema, "response_schema")
    chat.output_format = None if schema is None else OutputFormat("json_schema", schema=schema)
    chat.thinking = None if wire.reasoning_effort is None else Thinking(wire.reasoning_effort)
    return chat


def read_completion(body: bytes) -> ChatRequest:
    """The canonical form of a POST /api/v1/completion."""
    wire = decode_whole(_completion, body)
    return _read_sampling(wire, [Message("user", [Text(wire.prompt)])])


def _read_sampling(wire: _Sampling, messages: list[Message]) -> ChatRequest:
    system = [] if wire.system is None else [Message("system", [Text(wire.system)])]
    return ChatRequest(
        messages=[*system, *messages],
        output_limit=wire.max_output_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        stop=wire.stop,
        seed=wire.seed,
    )


def _read_messages(wires: list[ChatMessage]) -> list[Message]:
    messages: list[Message] = []
    for place, wire in enumerate(wires):
        content = read_content(wire.role, wire.content, f"messages[{place}].content")
        if wire.role == "tool" and messages and messages[-1].role == "tool":
            messages[-1].content += content
        else:
            messages.append(Message(wire.role, content))
    return messages


def _read_tool(tool: ToolSpec, where: str) -> Tool:
    return Tool(tool.name, tool.description, _object_of(tool.parameters, f"{where}.parameters"))


def _read_choice(wire: Literal["auto", "none", "required"] | ToolName | None) -> ToolChoice | None:
    if isinstance(wire, ToolName):
        return ToolChoice("named", wire.name)
    return None if wire is None else ToolChoice(wire)


def _object_of(raw: msgspec.Raw, param: str) -> msgspec.Raw | None:
    schema = given(raw)
    if schema is not None and not bytes(schema).startswith(b"{"):
        raise Invalid(f"{param} must be an object", param=param)
    return schema
