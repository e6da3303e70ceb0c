"""The official clients as callers: one question in each dialect, and the answer told alike."""

import dataclasses
import json
from typing import Any, Literal, Protocol, cast

import anthropic
import openai

LIMIT = 500
"""Output tokens asked for, as one of the dialects must name a limit."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """One turn of a conversation; `results` are of tools: id, name and text."""

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    images: tuple[str, ...] = ()
    """As `https:` or `data:` URLs."""
    calls: tuple[tuple[str, str, str], ...] = ()
    """Id, name and arguments as JSON text."""
    results: tuple[tuple[str, str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Ask:
    """What a caller wants."""

    turns: tuple[Turn, ...] = (Turn("user", "Say something."),)
    system: str | None = None
    tools: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Schemas by name."""
    tool_choice: str | None = None
    """`auto`, `none`, `required` or a name."""
    schema: dict[str, Any] | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()


@dataclasses.dataclass
class Got:
    """What came back."""

    text: str = ""
    refusal: str = ""
    thoughts: str = ""
    calls: list[tuple[str, str, str]] = dataclasses.field(default_factory=list[tuple[str, str, str]])
    finish: str | None = None
    input_total: int = 0
    cached: int = 0
    output: int = 0
    deltas: int = 0
    """Pieces of text in which it came."""


class Caller(Protocol):
    """One dialect, through its official client. Errors are those of the client."""

    name: str

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """The answer."""
        ...


class OpenAIChat:
    """Chat completions."""

    name = "openai_chat"

    def __init__(self, url: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """Through `chat.completions.create`."""
        fields = self._fields(model, ask)
        if not stream:
            return self._read(self._client.chat.completions.create(**fields))
        return self._read_stream(
            self._client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True})
        )

    def _fields(self, model: str, ask: Ask) -> dict[str, Any]:
        messages: list[Any] = [{"role": "system", "content": ask.system}] if ask.system else []
        for turn in ask.turns:
            messages += self._messages(turn)
        fields: dict[str, Any] = {"model": model, "messages": messages, "max_completion_tokens": LIMIT}
        if ask.tools:
            fields["tools"] = [
                {"type": "function", "function": {"name": name, "description": f"{name}!", "parameters": schema}}
                for name, schema in ask.tools.items()
            ]
        if ask.tool_choice in ("auto", "none", "required"):
            fields["tool_choice"] = ask.tool_choice
        elif ask.tool_choice:
            fields["tool_choice"] = {"type": "function", "function": {"name": ask.tool_choice}}
        if ask.schema:
            fields["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": ask.schema, "strict": True},
            }
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.stop:
            fields["stop"] = list(ask.stop)
        return fields

    def _messages(self, turn: Turn) -> list[dict[str, Any]]:
        if turn.role == "tool":
            return [{"role": "tool", "tool_call_id": id_, "content": text} for id_, _, text in turn.results]
        if turn.images:
            parts: list[dict[str, Any]] = [{"type": "text", "text": turn.text}]
            parts += [{"type": "image_url", "image_url": {"url": url}} for url in turn.images]
            return [{"role": turn.role, "content": parts}]
        message: dict[str, Any] = {"role": turn.role, "content": turn.text or (None if turn.calls else "")}
        if turn.calls:
            message["tool_calls"] = [
                {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id_, name, arguments in turn.calls
            ]
        return [message]

    def _read(self, answer: Any) -> Got:
        choice = answer.choices[0]
        message = choice.message
        got = Got(message.content or "", message.refusal or "", getattr(message, "reasoning_content", None) or "")
        got.calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
        got.finish = choice.finish_reason
        return _with_openai_usage(got, answer.usage)

    def _read_stream(self, chunks: Any) -> Got:
        got = Got()
        calls: list[list[str]] = []
        ids: set[str] = set()
        for chunk in chunks:
            ids.add(chunk.id)
            if chunk.usage is not None:
                assert not chunk.choices
                _with_openai_usage(got, chunk.usage)
            for choice in chunk.choices:
                delta = choice.delta
                got.text += delta.content or ""
                got.deltas += bool(delta.content)
                got.refusal += delta.refusal or ""
                got.thoughts += getattr(delta, "reasoning_content", None) or ""
                for call in delta.tool_calls or ():
                    if call.index == len(calls):
                        calls.append([call.id, call.function.name, ""])
                    calls[call.index][2] += call.function.arguments or ""
                if choice.finish_reason is not None:
                    assert got.finish is None, "a choice finished twice"
                    got.finish = choice.finish_reason
        assert len(ids) == 1, f"one answer has several ids: {ids}"
        got.calls = [(id_, name, arguments) for id_, name, arguments in calls]
        return got


def _with_openai_usage(got: Got, usage: Any) -> Got:
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    got.input_total, got.output = usage.prompt_tokens, usage.completion_tokens
    got.cached = (usage.prompt_tokens_details.cached_tokens or 0) if usage.prompt_tokens_details else 0
    return got


class OpenAIResponses:
    """Responses."""

    name = "openai_responses"

    def __init__(self, url: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """Through `responses.create`."""
        fields = self._fields(model, ask)
        if not stream:
            return self._read(self._client.responses.create(**fields))
        got = Got()
        last = None
        numbers: list[int] = []
        for event in cast(Any, self._client.responses.create(**fields, stream=True)):
            numbers.append(event.sequence_number)
            last = event
            if event.type == "response.output_text.delta":
                got.text += event.delta
                got.deltas += 1
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert last is not None
        assert last.type in ("response.completed", "response.incomplete"), last
        whole = self._read(last.response)
        assert got.text == whole.text, "the deltas are not the text"
        whole.deltas = got.deltas
        return whole

    def _fields(self, model: str, ask: Ask) -> dict[str, Any]:
        items: list[dict[str, Any]] = []
        for turn in ask.turns:
            items += self._items(turn)
        fields: dict[str, Any] = {"model": model, "input": items, "max_output_tokens": LIMIT, "store": False}
        if ask.system:
            fields["instructions"] = ask.system
        if ask.tools:
            fields["tools"] = [
                {"type": "function", "name": name, "description": f"{name}!", "parameters": schema, "strict": False}
                for name, schema in ask.tools.items()
            ]
        if ask.tool_choice in ("auto", "none", "required"):
            fields["tool_choice"] = ask.tool_choice
        elif ask.tool_choice:
            fields["tool_choice"] = {"type": "function", "name": ask.tool_choice}
        if ask.schema:
            form = {"type": "json_schema", "name": "person", "schema": ask.schema, "strict": True}
            fields["text"] = {"format": form}
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        return fields

    def _items(self, turn: Turn) -> list[dict[str, Any]]:
        if turn.role == "tool":
            return [{"type": "function_call_output", "call_id": id_, "output": text} for id_, _, text in turn.results]
        items: list[dict[str, Any]] = []
        kind = "output_text" if turn.role == "assistant" else "input_text"
        parts: list[dict[str, Any]] = [{"type": kind, "text": turn.text}] if turn.text else []
        parts += [{"type": "input_image", "image_url": url, "detail": "auto"} for url in turn.images]
        if parts:
            items.append({"type": "message", "role": turn.role, "content": parts})
        items += [
            {"type": "function_call", "call_id": id_, "name": name, "arguments": arguments}
            for id_, name, arguments in turn.calls
        ]
        return items

    def _read(self, answer: Any) -> Got:
        got = Got(text=answer.output_text)
        for item in answer.output:
            if item.type == "function_call":
                got.calls.append((item.call_id, item.name, item.arguments))
            elif item.type == "reasoning":
                got.thoughts += "".join(part.text for part in item.summary)
                got.thoughts += "".join(part.text for part in item.content or ())
            elif item.type == "message":
                got.refusal += "".join(part.refusal for part in item.content if part.type == "refusal")
        got.finish = "tool_calls" if got.calls else "stop"
        if answer.status == "incomplete":
            got.finish = {"max_output_tokens": "length"}.get(
                answer.incomplete_details.reason, answer.incomplete_details.reason
            )
        usage = answer.usage
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        got.input_total, got.output = usage.input_tokens, usage.output_tokens
        got.cached = usage.input_tokens_details.cached_tokens
        return got


class AnthropicMessages:
    """Messages."""

    name = "anthropic"

    def __init__(self, url: str, key: str) -> None:
        self._client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """Through `messages.create`, and `messages.stream` for streams."""
        fields = self._fields(model, ask)
        if not stream:
            return self._read(self._client.messages.create(**fields))
        with self._client.messages.stream(**fields) as events:
            pieces = list(events.text_stream)
            got = self._read(events.get_final_message())
        assert "".join(pieces) == got.text, "the deltas are not the text"
        got.deltas = len(pieces)
        return got

    def _fields(self, model: str, ask: Ask) -> dict[str, Any]:
        messages = [self._message(turn) for turn in ask.turns]
        fields: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": LIMIT}
        if ask.system:
            fields["system"] = ask.system
        if ask.tools:
            fields["tools"] = [
                {"name": name, "description": f"{name}!", "input_schema": schema} for name, schema in ask.tools.items()
            ]
        if ask.tool_choice in ("auto", "none"):
            fields["tool_choice"] = {"type": ask.tool_choice}
        elif ask.tool_choice == "required":
            fields["tool_choice"] = {"type": "any"}
        elif ask.tool_choice:
            fields["tool_choice"] = {"type": "tool", "name": ask.tool_choice}
        if ask.schema:
            fields["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        if ask.temperature is not None:
            fields["extra_body"] = {"temperature": ask.temperature}  # The client has no such argument any more.
        if ask.stop:
            fields["stop_sequences"] = list(ask.stop)
        return fields

    def _message(self, turn: Turn) -> dict[str, Any]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
        blocks += [{"type": "image", "source": _source(url)} for url in turn.images]
        blocks += [
            {"type": "tool_use", "id": id_, "name": name, "input": json.loads(arguments or "{}")}
            for id_, name, arguments in turn.calls
        ]
        blocks += [{"type": "tool_result", "tool_use_id": id_, "content": text} for id_, _, text in turn.results]
        return {"role": "assistant" if turn.role == "assistant" else "user", "content": blocks}

    def _read(self, answer: Any) -> Got:
        got = Got()
        for block in answer.content:
            if block.type == "text":
                got.text += block.text
            elif block.type == "thinking":
                got.thoughts += block.thinking
            elif block.type == "tool_use":
                got.calls.append((block.id, block.name, json.dumps(block.input, ensure_ascii=False)))
        reasons = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "stop_sequence": "stop"}
        got.finish = reasons.get(answer.stop_reason, answer.stop_reason)
        usage = answer.usage
        read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        got.input_total, got.cached, got.output = usage.input_tokens + read + written, read, usage.output_tokens
        return got


def _source(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media_type, _, data = url[5:].partition(";base64,")
    return {"type": "base64", "media_type": media_type, "data": data}
