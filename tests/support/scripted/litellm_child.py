"""LiteLLM as a client, run by its own environment: a question in each line that comes in, what came of it in each out.

Imports nothing but LiteLLM that this environment may lack.
"""

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TextIO

import litellm  # pyright: ignore[reportMissingImports]

from tests.support.scripted.asks import Ask, Got, Turn
from tests.support.scripted.openai_forms import (
    chat_fields,
    read_chat,
    read_chunks,
    read_response,
    read_response_events,
    response_fields,
)


def main() -> None:
    """Answer until nobody asks any more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # LiteLLM prints
    litellm.suppress_debug_info = True
    # LiteLLM leaves streams that broke off to the garbage collector. One that is collected while httpcore holds the
    # lock of its pool closes its connection there and then, and waits for that lock for ever: so not in between.
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        _answer(json.loads(line), answers)
        gc.collect()


def _answer(question: Mapping[str, Any], answers: TextIO) -> None:
    try:
        told: dict[str, Any] = {"got": dataclasses.asdict(_ask(question))}
    except Exception as error:  # noqa: BLE001 - whatever the client raises is its answer
        told = {"error": _told(error)}
    answers.write(json.dumps(told) + "\n")


def _ask(question: Mapping[str, Any]) -> Got:
    ask = _read_ask(question["ask"])
    where = {"api_base": question["api_base"], "api_key": question["key"], "max_retries": 0, "timeout": 60}
    if question["call"] == "responses":
        _teach(question["model"])
        return _ask_responses(response_fields(question["model"], ask) | where, stream=question["stream"])
    fields = chat_fields(question["model"], ask) | where
    if question["stream"]:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if question["call"] == "acompletion":
        return _without_refusal(asyncio.run(_ask_asynchronously(fields)))
    answer = litellm.completion(**fields)
    return _without_refusal(read_chunks(answer) if question["stream"] else read_chat(answer))


@cache
def _teach(model: str) -> None:
    """Tell LiteLLM of a model, because it asks for no stream where it does not know that there is one.

    Under every name: it takes the prefix off more than once.
    """
    known = {"litellm_provider": "openai", "mode": "chat", "supports_native_streaming": True}
    parts = model.split("/")
    litellm.register_model({"/".join(parts[start:]): known for start in range(len(parts))})


def _without_refusal(got: Got) -> Got:
    """LiteLLM's form of a chat completion has no place for words of refusal."""
    got.refusal = None
    return got


async def _ask_asynchronously(fields: dict[str, Any]) -> Got:
    answer = await litellm.acompletion(**fields)
    return read_chunks([chunk async for chunk in answer]) if fields.get("stream") else read_chat(answer)


def _ask_responses(fields: dict[str, Any], *, stream: bool) -> Got:
    if not stream:
        return read_response(litellm.responses(**fields))
    events: Iterable[Any] = litellm.responses(**fields, stream=True)
    return read_response_events(events)


def _read_ask(written: dict[str, Any]) -> Ask:
    ask = Ask(**written)
    return dataclasses.replace(ask, turns=tuple(Turn(**turn) for turn in written["turns"]))


def _told(error: Exception) -> dict[str, Any]:
    headers = getattr(error, "litellm_response_headers", None)
    if not headers:
        headers = getattr(getattr(error, "response", None), "headers", {})
    return {
        "classes": [kind.__name__ for kind in type(error).__mro__],
        "headers": {name.lower(): value for name, value in headers.items()},
        "text": str(error),
    }


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
