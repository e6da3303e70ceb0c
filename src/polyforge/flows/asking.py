"""What types of nodes ask models: a chat for words or for JSON, and vectors; each in the name of the caller."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import jsonschema_rs
import msgspec

from polyforge.flows.document import Json
from polyforge.flows.running.contract import NodeCall
from polyforge.kernel.errors import Invalid, InvalidModelOutput, UpstreamFailed
from polyforge.kernel.tasks import Task

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
MOST_TEXTS: Final = 2_048
"""Texts in one call for vectors."""
_MOST_SAID: Final = 4_000
"""Characters of a wrong answer that the model is shown again, and of one that an error tells."""
_MOST_WRONG: Final = 5
_TAG: Final = 64
_KINDS: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_encode: Final = msgspec.json.Encoder().encode
_Message = dict[str, Any]


class Said(msgspec.Struct, frozen=True):
    """What a model said, and the tokens that took."""

    text: str
    input: int
    output: int


class _Content(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Content


class _Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Tokens | None = None


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]


_reply: Final = msgspec.json.Decoder(_Reply).decode
_vectors: Final = msgspec.json.Decoder(_Vectors).decode


def model_of(call: NodeCall) -> str:
    """The name of the model that a node names, as callers of the gateway would."""
    return str(call.params["model"]["$ref"]).partition(":")[2]


def require_task(call: NodeCall, *tasks: Task) -> Task:
    """What the node's model does of these, the first where it does whatever it is asked; Invalid where it does none."""
    name = model_of(call)
    task = call.facilities.models.task(call.caller, name)
    if task is None:
        return tasks[0]
    if task not in tasks:
        raise Invalid(f"the model {name!r} does {task}; name one that does {' or '.join(tasks)}", param="model")
    return task


async def chat(
    call: NodeCall,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Json],
    *,
    part: str = "",
    on_text: Callable[[str], None] | None = None,
) -> Said:
    """The answer of the node's model to messages. `part` tells several questions of one step apart."""
    body = _encode({"model": model_of(call), "messages": messages, **options})
    reply = await _ask(call, CHAT, body, part, on_text)
    try:
        read = _reply(reply)
        message = read.choices[0].message
    except (msgspec.DecodeError, RecursionError, IndexError) as error:
        raise UpstreamFailed("the model's answer cannot be read") from error
    used = read.usage or _Tokens()
    return Said(message.content or message.refusal or "", used.prompt_tokens or 0, used.completion_tokens or 0)


async def chat_for_json(
    call: NodeCall, system: str, text: str, schema: Mapping[str, Any], *, attempts: int
) -> dict[str, Json]:
    """An object that fits a JSON schema; a model whose answer does not is told why, and asked again."""
    validator = _validator(schema)
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema)}}
    messages: list[_Message] = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    for attempt in range(1, attempts + 1):
        said = await chat(call, messages, {"response_format": shape}, part=str(attempt))
        value, wrong = _fitting(said.text, validator)
        if not wrong:
            return value
        call.log("warning", f"answer {attempt} does not fit the schema: {wrong}")
        if attempt == attempts:
            raise InvalidModelOutput(
                f"the model's answer does not fit the schema: {wrong}", output=said.text[:_MOST_SAID]
            )
        messages += [
            {"role": "assistant", "content": said.text[:_MOST_SAID]},
            {"role": "user", "content": f"That does not fit: {wrong}. Answer again, with the whole JSON object alone."},
        ]
    raise AssertionError("the last attempt either returns or raises")


async def vectors(call: NodeCall, texts: Sequence[str], dimensions: int | None = None) -> list[list[float]]:
    """A vector for each text, in their order."""
    if not all(texts):
        raise Invalid("a text is empty, and has no vector; leave it out", param="texts")
    found = list[list[float]]()
    for start in range(0, len(texts), MOST_TEXTS):
        body: dict[str, Any] = {"model": model_of(call), "input": list(texts[start : start + MOST_TEXTS])}
        body["encoding_format"] = "float"
        if dimensions is not None:
            body["dimensions"] = dimensions
        reply = await _ask(call, EMBEDDINGS, _encode(body), str(start), None)
        found += _read_vectors(reply, len(body["input"]))
    return found


def closeness(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine between two vectors."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(float.__mul__, map(float, one), map(float, other))) / lengths if lengths else 0.0


async def picture_part(call: NodeCall, reference: Json) -> _Message:
    """A picture of the object store as a chat takes it; Invalid for what is no picture that models look at."""
    data = await call.facilities.objects.get(call.caller, reference)
    kind = next((kind for begin, kind in _KINDS.items() if data.startswith(begin)), None)
    if kind is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        raise Invalid("an image is no PNG, JPEG, GIF or WebP", param="images")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}


async def _ask(call: NodeCall, url: str, body: bytes, part: str, on_text: Callable[[str], None] | None) -> bytes:
    key = f"{call.idempotency_key}:{part}" if part else call.idempotency_key
    tags = tuple(sorted((f"flow={call.flow_id}"[:_TAG], f"node={call.node}"[:_TAG])))
    answer = await call.facilities.models.call(call.caller, url, body, key=key.encode(), tags=tags, on_text=on_text)
    call.cost(answer.price)
    return answer.body


def _read_vectors(reply: bytes, count: int) -> list[list[float]]:
    try:
        found = sorted(_vectors(reply).data, key=lambda each: each.index)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamFailed("the embedding model's answer cannot be read") from error
    if len(found) != count:
        raise UpstreamFailed("the embedding model answered with another number of vectors")
    return [each.embedding for each in found]


def _validator(schema: Mapping[str, Any]) -> Any:
    try:
        return jsonschema_rs.validator_for(
            dict(schema), mask="it", offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise Invalid("the schema cannot be used: " + str(error).partition("\n")[0], param="schema") from error


def _fitting(said: str, validator: Any) -> tuple[dict[str, Json], str]:
    """The object that was said, and what is wrong with it."""
    try:
        value: Any = msgspec.json.decode(_unfenced(said))
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}, "it is not JSON"
    if not isinstance(value, dict):
        return {}, "it is no object"
    wrong = [_told(error) for _, error in zip(range(_MOST_WRONG), validator.iter_errors(value), strict=False)]
    return cast("dict[str, Json]", value), "; ".join(wrong)


def _told(error: Any) -> str:
    place = "/".join(map(str, error.instance_path))
    return f"{place or 'the object'}: {str(error.message)[:200]}"


def _unfenced(said: str) -> str:
    """The JSON of an answer that has a fence around it."""
    text = said.strip()
    if text.startswith("```") and text.endswith("```"):
        return text.partition("\n")[2].removesuffix("```")
    return text
