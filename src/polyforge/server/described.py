"""The platform's inference paths in the description of the API.

They stand in front of the framework, which therefore does not know them: what is told of them comes from the
structures that their bodies are read with and their answers written from.
"""

from typing import Any, Final, NamedTuple

import msgspec
from fastapi import FastAPI

from polyforge.dialects.openai_embeddings import EmbeddingReply, EmbeddingRequest
from polyforge.dialects.platform.replies import ChatReply, CompletionReply
from polyforge.dialects.platform.requests import ChatBody, CompletionBody
from polyforge.dialects.platform_code.operations import OPERATIONS

_EVENTS: Final = """\
Server-sent events: `start` {id, model, provider?, deployment?}; `text` {text} and `reasoning` {text, signature?, \
encrypted?, id?} as they come; `refusal` {text}; `tool_call` {type, id, name, arguments, signature}, each whole; \
`finish` {finish, stop_sequence}; `usage`, with `cost_usd`; or at any time, as the last, `error` with the problem."""
_HEADERS: Final = {
    "x-request-id": {"description": "The id under which /api/v1/requests has it.", "schema": {"type": "string"}},
    "x-polyforge-cost-usd": {
        "description": "What the call is charged for; of a stream, the event `usage` tells it.",
        "schema": {"type": "number"},
    },
}
_PROBLEM: Final = {
    "description": "What went wrong, as problem details (RFC 9457); `code` names it.",
    "content": {"application/problem+json": {"schema": {"type": "object", "required": ["status", "code", "detail"]}}},
}


class _Path(NamedTuple):
    path: str
    name: str
    tag: str
    body: type[msgspec.Struct]
    reply: type[msgspec.Struct]
    streams: bool


_PATHS: Final = (
    _Path("/api/v1/chat", "chat", "inference", ChatBody, ChatReply, streams=True),
    _Path("/api/v1/completion", "complete", "inference", CompletionBody, CompletionReply, streams=True),
    _Path("/api/v1/embeddings", "embed", "inference", EmbeddingRequest, EmbeddingReply, streams=False),
    *(_Path(each.path, f"{each.name}_code", "code", each.body, each.reply, streams=False) for each in OPERATIONS),
)


class DescribedApi(FastAPI):
    """The framework's application, whose description tells of the platform's inference paths too."""

    def openapi(self) -> dict[str, Any]:
        """The description, as OpenAPI 3.1 has it."""
        known = self.openapi_schema is not None
        schema = super().openapi()
        if not known:
            _describe(schema)
        return schema


def _describe(schema: dict[str, Any]) -> None:
    types = [kind for path in _PATHS for kind in (path.body, path.reply)]
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    known: dict[str, Any] = schema.setdefault("components", {}).setdefault("schemas", {})
    if taken := sorted(known.keys() & components.keys()):
        raise RuntimeError(f"two schemas are called {', '.join(taken)}")
    known |= components
    pairs = zip(references[::2], references[1::2], strict=True)
    paths: dict[str, Any] = schema.setdefault("paths", {})
    for path, (body, reply) in zip(_PATHS, pairs, strict=True):
        paths[path.path] = {"post": _operation(path, body, reply)}


def _operation(path: _Path, body: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"application/json": {"schema": reply}}
    if path.streams:
        answer["text/event-stream"] = {"schema": {"type": "string", "description": _EVENTS}}
    return {
        "tags": [path.tag],
        "summary": path.body.__doc__,
        "operationId": path.name,
        "security": [{"api_key": []}],
        "x-permission": "inference",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The answer.", "headers": _HEADERS, "content": answer},
            "default": _PROBLEM,
        },
    }
