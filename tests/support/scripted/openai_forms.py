"""What is asked in OpenAI's two forms, and what their answers say; of the client's objects only the names are used."""

from collections.abc import Iterable
from typing import Any

from tests.support.scripted.asks import LIMIT, Ask, Got, Turn

# Chat completions


def chat_fields(model: str, ask: Ask) -> dict[str, Any]:
    """The arguments of `chat.completions.create`."""
    fields: dict[str, Any] = {"model": model, "messages": chat_messages(ask), "max_completion_tokens": LIMIT}
    if ask.tools:
        fields["tools"] = chat_tools(ask)
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


def chat_messages(ask: Ask) -> list[dict[str, Any]]:
    """The conversation."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": ask.system}] if ask.system else []
    for turn in ask.turns:
        messages += _chat_turn(turn)
    return messages


def chat_tools(ask: Ask) -> list[dict[str, Any]]:
    """What may be called."""
    return [
        {"type": "function", "function": {"name": name, "description": f"{name}!", "parameters": schema}}
        for name, schema in ask.tools.items()
    ]


def _chat_turn(turn: Turn) -> list[dict[str, Any]]:
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


def read_chat(answer: Any) -> Got:
    """A whole answer."""
    choice = answer.choices[0]
    message = choice.message
    got = Got(message.content or "", _said(message, "refusal"), _said(message, "reasoning_content"))
    got.calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    got.finish = choice.finish_reason
    _add_chat_usage(got, answer.usage)
    return got


def read_chunks(chunks: Iterable[Any]) -> Got:
    """A streamed one."""
    got = Got()
    calls: list[list[str]] = []
    ids: set[str] = set()
    for chunk in chunks:
        ids.add(chunk.id)
        if getattr(chunk, "usage", None) is not None:
            _add_chat_usage(got, chunk.usage)
        for choice in chunk.choices:
            _add_delta(got, choice.delta, calls)
            if choice.finish_reason is not None:
                assert got.finish is None, "a choice finished twice"
                got.finish = choice.finish_reason
    assert len(ids) == 1, f"one answer has several ids: {ids}"
    got.calls = [(id_, name, arguments) for id_, name, arguments in calls]
    return got


def _add_delta(got: Got, delta: Any, calls: list[list[str]]) -> None:
    got.text += delta.content or ""
    got.deltas += bool(delta.content)
    got.refusal = (got.refusal or "") + _said(delta, "refusal")
    got.thoughts = (got.thoughts or "") + _said(delta, "reasoning_content")
    for call in delta.tool_calls or ():
        if call.index == len(calls):
            calls.append([call.id, call.function.name, ""])
        calls[call.index][2] += call.function.arguments or ""


def _said(holder: Any, field: str) -> str:
    """A text that not every client has a place for."""
    return getattr(holder, field, None) or ""


def _add_chat_usage(got: Got, usage: Any) -> None:
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    got.input_total, got.output = usage.prompt_tokens, usage.completion_tokens
    got.cached = (usage.prompt_tokens_details.cached_tokens or 0) if usage.prompt_tokens_details else 0


# Responses


def response_fields(model: str, ask: Ask) -> dict[str, Any]:
    """The arguments of `responses.create`."""
    items: list[dict[str, Any]] = []
    for turn in ask.turns:
        items += _response_items(turn)
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


def _response_items(turn: Turn) -> list[dict[str, Any]]:
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


def read_response(answer: Any) -> Got:
    """A whole response."""
    got = Got(text=answer.output_text)
    thoughts: list[str] = []
    refused: list[str] = []
    for item in answer.output:
        if item.type == "function_call":
            got.calls.append((item.call_id, item.name, item.arguments))
        elif item.type == "reasoning":
            thoughts += [part.text for part in (*item.summary, *(item.content or ()))]
        elif item.type == "message":
            refused += [part.refusal for part in item.content if part.type == "refusal"]
    got.thoughts, got.refusal = "".join(thoughts), "".join(refused)
    got.finish = finish_of_response(answer.status, answer.incomplete_details, called=bool(got.calls))
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    got.input_total, got.output = usage.input_tokens, usage.output_tokens
    got.cached = usage.input_tokens_details.cached_tokens
    return got


def finish_of_response(status: str, incomplete: Any, *, called: bool) -> str:
    """Why it ended, in the words of chat completions; `incomplete` holds the `reason` if there is one."""
    if status != "incomplete":
        return "tool_calls" if called else "stop"
    reason = incomplete["reason"] if isinstance(incomplete, dict) else incomplete.reason
    return "length" if reason == "max_output_tokens" else reason


def read_response_events(events: Iterable[Any]) -> Got:
    """A streamed one: the text is in the deltas and in the whole response at the end, and both must agree."""
    text, deltas = "", 0
    last = None
    for event in events:
        last = event
        if event.type == "response.output_text.delta":
            text += event.delta
            deltas += 1
    assert last is not None
    assert last.type in ("response.completed", "response.incomplete"), last
    whole = read_response(last.response)
    assert text == whole.text, "the deltas are not the text"
    whole.deltas = deltas
    return whole
