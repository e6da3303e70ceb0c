"""LangChain's client for OpenAI's API as a caller, in both of its dialects."""

import json
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.support.scripted.asks import LIMIT, Ask, Got
from tests.support.scripted.openai_forms import chat_fields, chat_messages, chat_tools, finish_of_response


def chat_model(url: str, key: str, model: str = "unset", **more: Any) -> ChatOpenAI:
    """The client, without retries, and with usage in streams, which it asks OpenAI's own servers for."""
    return ChatOpenAI(
        model=model,
        base_url=f"{url}/v1",
        api_key=SecretStr(key),
        max_retries=0,
        stream_usage=True,
        max_completion_tokens=LIMIT,
        **more,
    )


class LangChainChat:
    """Chat completions."""

    name = "langchain_chat"

    def __init__(self, url: str, key: str) -> None:
        self._model = chat_model(url, key, use_responses_api=False)

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """Through `invoke` and `stream`."""
        bound = _bound(self._model, model, ask)
        return _streamed(bound, ask) if stream else read_message(bound.invoke(chat_messages(ask)))

    def close(self) -> None:
        """Nothing: its connections end with it."""


class LangChainResponses(LangChainChat):
    """Responses."""

    name = "langchain_responses"

    def __init__(self, url: str, key: str) -> None:
        self._model = chat_model(url, key, use_responses_api=True, store=False)


def _bound(client: ChatOpenAI, model: str, ask: Ask) -> Any:
    """The client with the arguments of one question."""
    fields = chat_fields(model, ask)
    kept = {name: fields[name] for name in ("model", "temperature", "stop", "response_format") if name in fields}
    if ask.tools:
        return client.bind_tools(chat_tools(ask), tool_choice=ask.tool_choice, **kept)
    return client.bind(**kept)


def _streamed(bound: Any, ask: Ask) -> Got:
    chunks = cast(list[AIMessageChunk], list(bound.stream(chat_messages(ask))))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    got = read_message(whole)
    texts = [str(chunk.text) for chunk in chunks]
    assert "".join(texts) == got.text, "the deltas are not the text"
    got.deltas = sum(bool(text) for text in texts)
    return got


def read_message(message: AIMessage) -> Got:
    """A whole answer. LangChain has no place for thoughts in chat completions, nor for refusals in streams of them.

    Calls without arguments count as broken ones to it, and are none.
    """
    blocks = [block for block in message.content if isinstance(block, dict)]
    got = Got(text=str(message.text))
    refused = [block["refusal"] for block in blocks if block["type"] == "refusal"]
    got.refusal = message.additional_kwargs.get("refusal") or "".join(refused)
    thoughts = [block["summary"] for block in blocks if block["type"] == "reasoning"]
    got.thoughts = "".join(part["text"] for summary in thoughts for part in summary)
    got.calls = [(call["id"] or "", call["name"], json.dumps(call["args"])) for call in message.tool_calls]
    assert not [call for call in message.invalid_tool_calls if call["args"]]
    got.calls += [(call["id"] or "", call["name"] or "", "") for call in message.invalid_tool_calls]
    said = message.response_metadata
    if "status" in said:
        got.finish = finish_of_response(said["status"], said.get("incomplete_details"), called=bool(got.calls))
    else:
        got.finish, got.thoughts = said["finish_reason"], None
        got.refusal = None if isinstance(message, AIMessageChunk) else got.refusal
    usage = message.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    got.input_total, got.output = usage["input_tokens"], usage["output_tokens"]
    got.cached = usage.get("input_token_details", {}).get("cache_read", 0)
    return got
