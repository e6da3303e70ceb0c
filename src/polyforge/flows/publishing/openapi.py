"""The API of one flow, as an OpenAPI 3.1 document of its own: one path, with its inputs and outputs."""

from typing import Any, Final

from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.publishing.json_schemas import inputs_schema, outputs_schema
from polyforge.flows.running.records import RunState

MODES: Final = ("sync", "async", "stream")
_STATES: Final = list(RunState.__args__)
_JSON: Final = "application/json"
_ABOUT: Final = (
    "`sync` answers 200 once the run is over, and 202 with the run where it takes longer; `async` answers 202 at once; "
    "`stream` sends what happens as server-sent events. Follow a run at `/api/v1/flow-runs/{id}`."
)


def openapi_of(
    version: FlowVersion, reference: str, site: str, usual_seconds: float, most_seconds: float
) -> dict[str, Any]:
    """The document; `reference` is what its path names, so an alias stays one."""
    document = version.document
    security: list[dict[str, list[str]]] = [{"api_key": []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": document.name,
            "version": version.version[:12],
            **({} if document.description is None else {"description": document.description}),
        },
        "servers": [{"url": site}],
        "security": security,
        "paths": {f"/api/v1/flows/{reference}/run": {"post": _operation(version)}},
        "components": {
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Inputs": inputs_schema(document.interface),
                "Outputs": outputs_schema(document.interface),
                "Request": _request(usual_seconds, most_seconds),
                "Run": _run(),
                "Problem": _problem(),
            },
        },
    }


def _operation(version: FlowVersion) -> dict[str, Any]:
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 200}}
    request = {"required": True, "content": {_JSON: {"schema": _ref("Request")}}}
    streamed = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "operationId": "run",
        "summary": f"Run {version.flow_name}",
        "description": _ABOUT,
        "parameters": [key],
        "requestBody": request,
        "responses": {
            "200": {
                "description": "The run is over, or what happens in it follows.",
                "content": {_JSON: {"schema": _ref("Run")}, **streamed},
            },
            "202": {"description": "The run goes on.", "content": {_JSON: {"schema": _ref("Run")}}},
            "4XX": {
                "description": "It did not begin; the problem says why.",
                "content": {"application/problem+json": {"schema": _ref("Problem")}},
            },
        },
    }


def _request(usual_seconds: float, most_seconds: float) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "inputs": _ref("Inputs"),
            "mode": {"enum": list(MODES), "default": "sync"},
            "timeout_seconds": {
                "type": "number",
                "minimum": 0,
                "maximum": most_seconds,
                "default": usual_seconds,
                "description": "How long `sync` waits; the run goes on after it.",
            },
            "max_cost_usd": {
                "type": "number",
                "exclusiveMinimum": 0,
                "description": "No node begins once the run has cost this.",
            },
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }


def _run() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "version": {"type": "string"},
            "state": {"enum": _STATES},
            "outputs": {"anyOf": [_ref("Outputs"), {"type": "null"}]},
            "error": {"type": ["object", "null"]},
        },
        "required": ["id", "version", "state", "outputs", "error"],
    }


def _problem() -> dict[str, Any]:
    texts = {name: {"type": "string"} for name in ("title", "detail", "code", "param", "request_id")}
    return {
        "type": "object",
        "properties": {"status": {"type": "integer"}, **texts},
        "required": ["status", "detail", "code"],
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
