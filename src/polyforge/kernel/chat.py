"""A conversation in canonical form: what every chat dialect is read into, and each wire format written from.

Built only where two dialects meet, or where something has to look inside; else bodies pass through as bytes.
"""

from typing import Literal

import msgspec

from polyforge.kernel.usage import Usage

Role = Literal["system", "developer", "user", "assistant", "tool"]
Finish = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal", "pause"]
"""Why an answer ended: by itself, at a sequence that the caller named, at its limit, to have tools called, held back by
the provider's filter, declined by the model, or to be continued (the provider wants the turn sent back as it is)."""


class Text(msgspec.Struct, tag="text", gc=False):
    """Prose. `cached`: what leads up to its end is worth keeping in the provider's prompt cache."""

    text: str
    cached: bool = False


class Image(msgspec.Struct, tag="image", gc=False):
    """A picture: base64 `data` of a media type, or a `url` that the provider is to fetch."""

    data: str | None = None
    media_type: str | None = None
    url: str | None = None
    detail: str | None = None
    """How closely to look: `low`, `high` or `auto`."""


class File(msgspec.Struct, tag="file", gc=False):
    """A document: base64 `data` of a media type, a `url`, or the `id` of one that the provider holds."""

    data: str | None = None
    media_type: str | None = None
    name: str | None = None
    url: str | None = None
    id: str | None = None


class Audio(msgspec.Struct, tag="audio", gc=False):
    """Speech: base64 `data` in a `format` such as `wav` or `mp3`."""

    data: str
    format: str


class Reasoning(msgspec.Struct, tag="reasoning", gc=False):
    """What the model thought. A `signature` or `encrypted` part must go back to its provider word for word."""

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None
    """Thought that the provider shows only sealed (Anthropic: redacted; OpenAI: encrypted_content)."""
    id: str | None = None


class Refusal(msgspec.Struct, tag="refusal", gc=False):
    """The model's own words for declining."""

    text: str


class ToolCall(msgspec.Struct, tag="tool_call", gc=False):
    """A tool that the model wants called. `arguments` is JSON text as the model wrote it: may be empty, or no JSON."""

    id: str
    name: str
    arguments: str
    signature: str | None = None
    """Gemini's thought signature of the call, to be sent back with it."""


class ToolResult(msgspec.Struct, tag="tool_result"):
    """What a tool gave back."""

    call_id: str
    content: list["Text | Image | File"]
    error: bool = False


Block = Text | Image | File | Audio | Reasoning | Refusal | ToolCall | ToolResult


class Message(msgspec.Struct):
    """One turn. Tool results stand in messages of the role `tool`, all that answer one assistant turn together."""

    role: Role
    content: list[Block]
    name: str | None = None


class Tool(msgspec.Struct):
    """A function that the model may call; `parameters` is its JSON schema, None: it takes nothing."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether the model may, must not or must call a tool; `named`: that one."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None


class OutputFormat(msgspec.Struct):
    """The form of the answer: any JSON object, or one that fits `schema`."""

    kind: Literal["json_object", "json_schema"]
    name: str = "answer"
    schema: msgspec.Raw | None = None
    strict: bool | None = None
    description: str | None = None
    prompted: bool = False
    """Whether the messages ask for it too, so that a provider which has no place for it may do without."""


class Thinking(msgspec.Struct, frozen=True):
    """How much the model shall think first: an `effort` by name, or a `budget` in tokens (0: not at all)."""

    effort: str | None = None
    budget: int | None = None
    shown: bool | None = None
    """Whether the thoughts, or a summary of them, are wanted in the answer."""


class ChatRequest(msgspec.Struct, kw_only=True):
    """Everything that a caller asked for. None: not said, so that the provider's default holds."""

    messages: list[Message]
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_format: OutputFormat | None = None
    thinking: Thinking | None = None
    output_limit: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: msgspec.Raw | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    choices: int = 1
    user: str | None = None
    """The end user, as the caller names them."""
    others: dict[str, msgspec.Raw] = {}
    """Fields of the caller's dialect that have no place here, by name."""


class Choice(msgspec.Struct, kw_only=True):
    """One answer; `index` counts from 0."""

    content: list[Block]
    finish: Finish
    index: int = 0
    stop_sequence: str | None = None
    logprobs: msgspec.Raw | None = None
    """As OpenAI writes them: `{"content": [...]}`."""


class ChatResult(msgspec.Struct, kw_only=True):
    """A whole answer."""

    choices: list[Choice]
    usage: Usage | None = None
    model: str = ""
    """What the provider says answered."""
    id: str = ""
    """The provider's own name for the answer."""


class Fault(msgspec.Struct):
    """Why an answer will not do."""

    reason: str
    said: str
    """What the answer was."""
    turns: list[Message] = []
    """What to add to the conversation to ask for a better one; nothing, where asking again is no use."""


# The pieces of a streamed answer, in the order in which they come


class Started(msgspec.Struct, frozen=True, gc=False):
    """The first word of the provider; carries what it names itself."""

    model: str = ""
    id: str = ""


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """More text."""

    text: str
    choice: int = 0
    logprobs: msgspec.Raw | None = None


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """More of a thought."""

    text: str
    choice: int = 0


class ReasoningEnd(msgspec.Struct, frozen=True, gc=False):
    """A thought is over; what must go back with it. Without text before it, a thought that is shown only sealed."""

    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the words in which the model declines."""

    text: str
    choice: int = 0


class ToolCallStart(msgspec.Struct, frozen=True, gc=False):
    """A call begins. `index` counts the calls of its choice from 0, without gaps."""

    index: int
    id: str
    name: str
    signature: str | None = None
    choice: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """More of a call's arguments, as JSON text."""

    index: int
    arguments: str
    choice: int = 0


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A choice is over; said once for each."""

    finish: Finish
    stop_sequence: str | None = None
    choice: int = 0


class Used(msgspec.Struct, frozen=True, gc=False):
    """What the call used so far; the last one counts."""

    usage: Usage


Delta = (
    Started | TextDelta | ReasoningDelta | ReasoningEnd | RefusalDelta | ToolCallStart | ToolCallDelta | Finished | Used
)


def text_of(content: list[Block]) -> str:
    """The prose in some blocks, joined."""
    return "".join([block.text for block in content if type(block) is Text])
