"""The official clients as callers: one question in each dialect, and the answer told alike."""

import json
from collections.abc import Iterator
from typing import Any, cast

import anthropic
import openai

from tests.support.scripted.asks import LIMIT, Ask, Got, Turn
from tests.support.scripted.openai_forms import (
    chat_fields,
    read_chat,
    read_chunks,
    read_response,
    read_response_events,
    response_fields,
)


class OpenAIChat:
    """Chat completions."""

    name = "openai_chat"

    def __init__(self, url: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """Through `chat.completions.create`."""
        fields = chat_fields(model, ask)
        if not stream:
            return read_chat(self._client.chat.completions.create(**fields))
        chunks = self._client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True})
        return read_chunks(self._checked(chunks))

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _checked(self, chunks: Any) -> Iterator[Any]:
        for chunk in chunks:
            assert chunk.usage is None or not chunk.choices, "usage has a chunk of its own"
            yield chunk


class OpenAIResponses:
    """Responses."""

    name = "openai_responses"

    def __init__(self, url: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """Through `responses.create`."""
        fields = response_fields(model, ask)
        if not stream:
            return read_response(self._client.responses.create(**fields))
        return read_response_events(self._checked(cast(Any, self._client.responses.create(**fields, stream=True))))

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _checked(self, events: Any) -> Iterator[Any]:
        for number, event in enumerate(events):
            assert event.sequence_number == number, "events are numbered without gaps"
            yield event


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

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

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
        got, thoughts = Got(), ""
        for block in answer.content:
            if block.type == "text":
                got.text += block.text
            elif block.type == "thinking":
                thoughts += block.thinking
            elif block.type == "tool_use":
                got.calls.append((block.id, block.name, json.dumps(block.input, ensure_ascii=False)))
        got.thoughts = thoughts
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
