"""A chat request as the body of generateContent, written from the canonical form."""

import mimetypes
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from polyforge.dialects.arguments import arguments_object
from polyforge.dialects.gemini.thinking import NEWEST, generation, write_thinking
from polyforge.dialects.gemini.tool_names import ToolNames
from polyforge.dialects.parameters import choice_of
from polyforge.kernel.chat import (
    Audio,
    Block,
    ChatRequest,
    File,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polyforge.kernel.errors import Invalid, Unsupported

PARAMETERS: Final = frozenset(
    {
        "tools",
        "tool_choice",
        "output_format",
        "thinking",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logprobs",
        "top_logprobs",
        "choices",
    }
)
"""What a request in this dialect can say of the canonical form."""
SKIP_SIGNATURE: Final = "skip_thought_signature_validator"
"""Instead of a thought signature that was lost: https://ai.google.dev/gemini-api/docs/thought-signatures#faqs."""
_FILES: Final = "https://generativelanguage.googleapis.com/v1beta/"
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_encode: Final = msgspec.json.Encoder().encode
_Part = dict[str, Any]


class _Turns(msgspec.Struct):
    """What the turns of one request have in common."""

    names: ToolNames
    call_ids: bool
    generation: int
    calls: dict[str, tuple[int, str]]
    """Place and name of each call in the history, by its id."""


def write_chat(chat: ChatRequest, *, model: str, names: ToolNames, call_ids: bool = True) -> bytes:
    """The body of a POST generateContent or streamGenerateContent; Invalid for content that has no place in it.

    `call_ids`: whether the server takes ids of calls; without them it matches results by name and order.
    """
    turns = _Turns(names, call_ids, generation(model), _calls_of(chat.messages))
    fields: dict[str, Any] = {"contents": _write_contents(chat.messages, turns)}
    system = [part for message in chat.messages if _is_system(message) for part in _write_parts(message.content)]
    if system:
        fields["systemInstruction"] = {"parts": system}
    if chat.tools:
        fields["tools"] = [{"functionDeclarations": [_write_tool(tool, names) for tool in chat.tools]}]
    if (choice := choice_of(chat)) is not None:
        fields["toolConfig"] = {"functionCallingConfig": _write_choice(choice, names)}
    if settings := _write_settings(chat, model):
        fields["generationConfig"] = settings
    return _encode(fields)


def _write_settings(chat: ChatRequest, model: str) -> dict[str, Any]:
    return _given(
        temperature=chat.temperature,
        topP=chat.top_p,
        topK=chat.top_k,
        maxOutputTokens=chat.output_limit,
        stopSequences=chat.stop or None,
        seed=chat.seed,
        presencePenalty=chat.presence_penalty,
        frequencyPenalty=chat.frequency_penalty,
        candidateCount=chat.choices if chat.choices > 1 else None,
        responseLogprobs=chat.logprobs or None,
        logprobs=chat.top_logprobs if chat.logprobs else None,
        thinkingConfig=write_thinking(chat.thinking, model),
        **_write_format(chat.output_format),
    )


def _write_format(wanted: OutputFormat | None) -> dict[str, Any]:
    if wanted is None:
        return {}
    return {"responseMimeType": "application/json", "responseJsonSchema": wanted.schema}


def _write_tool(tool: Tool, names: ToolNames) -> dict[str, Any]:
    name = names.written(tool.name)
    return _given(name=name, description=tool.description, parametersJsonSchema=tool.parameters)


def _write_choice(choice: ToolChoice, names: ToolNames) -> dict[str, Any]:
    written: dict[str, Any] = {"mode": _MODES[choice.mode]}
    if choice.mode == "named" and choice.name is not None:
        written["allowedFunctionNames"] = [names.written(choice.name)]
    return written


# Turns


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _calls_of(messages: Sequence[Message]) -> dict[str, tuple[int, str]]:
    calls = [block for message in messages for block in message.content if isinstance(block, ToolCall)]
    return {call.id: (place, call.name) for place, call in enumerate(calls)}


def _write_contents(messages: Sequence[Message], turns: _Turns) -> list[dict[str, Any]]:
    """The turns; the calls of the last one, since the user spoke, are those whose signatures the server wants."""
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
    contents: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        if message.role == "tool":
            _append(contents, "user", _write_results(message, turns), joined=False)
        elif message.role == "assistant":
            _append(contents, "model", _write_answer(message, turns, is_current=place > last))
        elif message.role == "user":
            _append(contents, "user", _write_parts(message.content))
    return contents or [_lone_turn(messages)]


def _append(contents: list[dict[str, Any]], role: str, parts: list[_Part], *, joined: bool = True) -> None:
    """Add a turn, or lengthen the last one of the same role; results of calls stay apart."""
    if not parts:
        return
    last = contents[-1] if contents else None
    if joined and last is not None and last["role"] == role and "functionResponse" not in last["parts"][0]:
        last["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _lone_turn(messages: Sequence[Message]) -> dict[str, Any]:
    """A turn for a request that has none: the server wants one, so what the system says is said by the user."""
    parts = [part for message in messages if _is_system(message) for part in _write_parts(message.content)]
    return {"role": "user", "parts": parts or [{"text": ""}]}


def _write_parts(content: Sequence[Block]) -> list[_Part]:
    """Parts of a turn that is not the model's; texts without a character are left out, as servers refuse them."""
    return [_write_part(block) for block in content if not (isinstance(block, Text) and not block.text)]


def _write_part(block: Block) -> _Part:
    if isinstance(block, Text | Refusal):
        return {"text": block.text}
    if isinstance(block, Image):
        return _write_media(block.data, block.media_type, block.url, "image/png")
    if isinstance(block, Audio):
        return _inline(block.data, f"audio/{block.format}")
    if isinstance(block, File):
        return _write_media(block.data, block.media_type, block.url or _file_url(block), "application/pdf")
    raise Invalid(f"a message of the user cannot hold a {type(block).__name__}", param="messages")


def _write_media(data: str | None, media_type: str | None, url: str | None, usual: str) -> _Part:
    if data is not None:
        return _inline(data, media_type or usual)
    if url is None:
        raise Invalid("a picture or file holds neither data nor a URL", param="messages")
    if not url.startswith(("https://", "http://")):
        # Others, `gs://` first of all, would be read with our account's rights instead of the caller's.
        raise Unsupported("this provider takes pictures and files as data or by an https:// URL", param="messages")
    guessed, _ = mimetypes.guess_type(urlsplit(url).path)
    return {"fileData": {"mimeType": media_type or guessed or usual, "fileUri": url}}


def _inline(data: str, media_type: str) -> _Part:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _file_url(file: File) -> str | None:
    """The address of a file that the provider holds, by its name `files/...` or as it stands."""
    return f"{_FILES}{file.id}" if file.id is not None and file.id.startswith("files/") else file.id


# The model's turns


def _write_answer(message: Message, turns: _Turns, *, is_current: bool) -> list[_Part]:
    parts: list[_Part] = []
    signature: str | None = None
    for block in message.content:
        if isinstance(block, Reasoning):
            signature = block.signature or signature
            if block.signature is not None and block.text:
                parts.append({"text": block.text, "thought": True})
        elif isinstance(block, ToolCall):
            parts.append(_write_call(block, turns))
        elif not (isinstance(block, Text) and not block.text):
            parts.append(_write_part(block))
    return _signed(parts, signature, must_sign=is_current and turns.generation >= NEWEST)


def _signed(parts: list[_Part], signature: str | None, *, must_sign: bool) -> list[_Part]:
    """Put the thought's signature where the model had it: on the first call, else on the prose; or say it is lost."""
    call = next((part for part in parts if "functionCall" in part), None)
    if call is not None:
        if "thoughtSignature" not in call and (signature or must_sign):
            call["thoughtSignature"] = signature or SKIP_SIGNATURE
        return parts
    if signature is not None:
        prose = next((part for part in reversed(parts) if "text" in part and "thought" not in part), None)
        if prose is None:
            parts.append({"text": "", "thoughtSignature": signature})
        else:
            prose["thoughtSignature"] = signature
    return parts


def _write_call(call: ToolCall, turns: _Turns) -> _Part:
    written = {"name": turns.names.written(call.name), "args": arguments_object(call.arguments)}
    if turns.call_ids:
        written["id"] = call.id
    part: _Part = {"functionCall": written}
    if call.signature is not None:
        part["thoughtSignature"] = call.signature
    return part


def _write_results(message: Message, turns: _Turns) -> list[_Part]:
    """All results in one turn, in the order of their calls; pictures follow where a result cannot hold them."""
    results = [block for block in message.content if isinstance(block, ToolResult)]
    results.sort(key=lambda result: turns.calls.get(result.call_id, (len(turns.calls), ""))[0])
    parts: list[_Part] = []
    seen: list[_Part] = []
    for result in results:
        media = [_write_part(block) for block in result.content if not isinstance(block, Text)]
        response = _write_result(result, turns)
        if turns.generation >= NEWEST and media:
            response["parts"] = media
        else:
            seen += media
        parts.append({"functionResponse": response})
    return parts + seen


def _write_result(result: ToolResult, turns: _Turns) -> dict[str, Any]:
    prose = "".join([block.text for block in result.content if isinstance(block, Text)])
    _, name = turns.calls.get(result.call_id, (0, result.call_id))
    written: dict[str, Any] = {
        "name": turns.names.written(name),
        "response": {"error" if result.error else "output": prose},
    }
    if turns.call_ids:
        written["id"] = result.call_id
    return written


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
