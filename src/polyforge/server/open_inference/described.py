"""The Open Inference Protocol as this gateway speaks it, as OpenAPI 3.1 has it.

Bodies and answers are described by the structures that read and write them, but for tensors: their elements are read
where they are needed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from polyforge import __version__
from polyforge.dialects import oip
from polyforge.kernel.tensors import Datatype, Parameter

PATH: Final = "/v2/openapi.json"
_MODEL: Final = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "A name as `GET /v1/models` lists it; slashes in it may be quoted or not.",
    "schema": {"type": "string", "minLength": 1},
}
_VERSION: Final = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}
_LENGTH: Final = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "Where the JSON ends and raw tensors begin, in the order of the inputs.",
    "schema": {"type": "integer", "minimum": 0},
}
_ANY_OBJECT: Final = {"type": "object"}


class Live(msgspec.Struct):
    """Whether the process runs."""

    live: bool


class Ready(msgspec.Struct):
    """Whether requests are taken, and what models were begun with are loaded."""

    ready: bool


class ModelReady(msgspec.Struct):
    """Whether a model answers."""

    name: str
    ready: bool


class InferTensor(msgspec.Struct):
    """A tensor. Its elements are in `data`, row-major, nested or flat; or raw behind the JSON, as many bytes as the
    parameter `binary_data_size` says."""

    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    datatype: Datatype
    parameters: dict[str, Parameter] = {}
    data: list[Any] = []


class InferenceRequest(msgspec.Struct):
    """What a model is given, and which outputs are wanted; none are named: all."""

    inputs: list[InferTensor]
    id: str = ""
    parameters: dict[str, Parameter] = {}
    outputs: list[oip.WireRequestedOutput] = []


class InferenceResponse(msgspec.Struct):
    """What a model gives."""

    model_name: str
    outputs: list[InferTensor]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Parameter] = {}


class _Operation(NamedTuple):
    method: str
    path: str
    name: str
    summary: str
    permission: str | None
    answer: Any = None
    """A structure, or a schema; None: an empty body."""
    body: Any = None
    streams: bool = False
    not_ready: bool = False
    """Whether 503 has the same form as a good answer."""


def _of_model(at: str, suffix: str) -> tuple[_Operation, ...]:
    return (
        _Operation("get", at, f"describe_model{suffix}", "What it takes and gives.", "models:read", oip.ModelMetadata),
        _Operation(
            "get", f"{at}/ready", f"model_ready{suffix}", "Whether a model answers.", "models:read", ModelReady,
            not_ready=True,
        ),
        _Operation("get", f"{at}/config", f"model_config{suffix}", "Its configuration.", "models:read", _ANY_OBJECT),
        _Operation("get", f"{at}/stats", f"model_statistics{suffix}", "Its counters.", "models:read", _ANY_OBJECT),
        _Operation(
            "post", f"{at}/infer", f"infer{suffix}", "Tensors in, tensors out.", "inference", InferenceResponse,
            InferenceRequest,
        ),
        _Operation(
            "post", f"{at}/generate", f"generate{suffix}", "The same as one flat object.", "inference", _ANY_OBJECT,
            _ANY_OBJECT,
        ),
        _Operation(
            "post", f"{at}/generate_stream", f"generate_stream{suffix}", "Each answer as it comes.", "inference",
            _ANY_OBJECT, _ANY_OBJECT, streams=True,
        ),
    )  # fmt: skip


_OPERATIONS: Final = (
    _Operation("get", "/v2/health/live", "live", "Whether the process runs.", None, Live),
    _Operation("get", "/v2/health/ready", "ready", "Whether requests are taken.", None, Ready, not_ready=True),
    _Operation("get", "/v2", "describe_server", "The server and its extensions.", "models:read", oip.ServerMetadata),
    *_of_model("/v2/models/{model}", ""),
    *_of_model("/v2/models/{model}/versions/{version}", "_version"),
    _Operation("get", "/v2/models/stats", "statistics", "The counters of all models.", "models:operate", _ANY_OBJECT),
    _Operation(
        "post", "/v2/repository/index", "index", "The models that may be used.", "models:read",
        list[oip.IndexEntry], oip.IndexRequest,
    ),
    _Operation(
        "post", "/v2/repository/models/{model}/load", "load", "Load a model, or load it anew.", "models:operate",
        body=oip.RepositoryRequest,
    ),
    _Operation(
        "post", "/v2/repository/models/{model}/unload", "unload", "Let go of a model.", "models:operate",
        body=oip.RepositoryRequest,
    ),
)  # fmt: skip


def description() -> bytes:
    """The whole, as JSON."""
    given = [each for operation in _OPERATIONS for each in (operation.answer, operation.body)]
    types = [each for each in [*given, oip.WireError] if each is not None and not isinstance(each, Mapping)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    known = {str(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, known)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Polyforge: the Open Inference Protocol", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }
    return oip.encode_json(whole)


def _operation(operation: _Operation, known: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [each for name, each in (("{model}", _MODEL), ("{version}", _VERSION)) if name in operation.path]
    if operation.path.endswith("/infer"):
        parameters.append(_LENGTH)
    told: dict[str, Any] = {"200": _answer(operation, known)}
    if operation.not_ready:
        told["503"] = told["200"]
    failure = {"application/json": {"schema": known[str(oip.WireError)]}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": ["open inference"],
        "parameters": parameters,
        "responses": {**told, "default": {"description": "What went wrong.", "content": failure}},
    }
    if operation.permission is not None:
        described |= {"security": [{"api_key": []}], "x-permission": operation.permission}
    if operation.body is not None:
        schema = _schema(operation.body, known)
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _answer(operation: _Operation, known: Mapping[str, Any]) -> dict[str, Any]:
    if operation.answer is None:
        return {"description": "Done."}
    kind = "text/event-stream" if operation.streams else "application/json"
    schema = {"type": "string"} if operation.streams else _schema(operation.answer, known)
    return {"description": "The answer.", "content": {kind: {"schema": schema}}}


def _schema(given: Any, known: Mapping[str, Any]) -> Any:
    return known.get(str(given), given)
