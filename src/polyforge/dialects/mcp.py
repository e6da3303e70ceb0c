"""The Model Context Protocol over streamable HTTP, as far as a server of tools speaks it: messages, both ways.

Two ways of talking: revisions up to 2025-11-25 begin with `initialize`; from 2026-07-28 on, each request says in its
`_meta` and its headers which revision it is of, and there is nothing to begin. Neither needs a session here.
Source: https://modelcontextprotocol.io/specification
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

NEWEST: Final = "2025-11-25"
HANDSHAKES: Final = ("2025-03-26", "2025-06-18", NEWEST)
"""Revisions that begin with `initialize`."""
ASSUMED: Final = HANDSHAKES[0]
"""Of whoever does not say."""
ENVELOPES: Final = ("2026-07-28",)
"""Revisions in which each request stands for itself."""
VERSION_HEADER: Final = b"mcp-protocol-version"
METHOD_HEADER: Final = b"mcp-method"
NAME_HEADER: Final = b"mcp-name"

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

_PREFIX: Final = "io.modelcontextprotocol/"
_VERSION_KEY: Final = f"{_PREFIX}protocolVersion"
_CAPABILITIES_KEY: Final = f"{_PREFIX}clientCapabilities"
_SERVER_KEY: Final = f"{_PREFIX}serverInfo"
_ENCODED: Final = ("=?base64?", "?=")
_LONGEST_ID: Final = 256
_STATUSES: Final = {METHOD_NOT_FOUND: 404, INTERNAL_ERROR: 200}
_CAPABILITIES: Final = {"tools": {"listChanged": False}}
_encode: Final = msgspec.json.Encoder().encode
Id = str | int | None
Headers = Mapping[bytes, bytes]


class McpError(Exception):
    """A request that cannot be answered, in the protocol's own terms."""

    def __init__(self, code: int, message: str, *, data: Any = None, id: Id = None, status: int = 200) -> None:  # noqa: A002
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.id = id
        self.status = status


class Request(msgspec.Struct, frozen=True):
    """One message of a client. `id` is None for a notification, and `method` empty for an answer."""

    id: Id
    method: str
    params: Mapping[str, Any]
    version: str

    @property
    def expects_answer(self) -> bool:
        """Whether it is neither a notification nor an answer."""
        return self.id is not None and self.method != ""

    @property
    def enveloped(self) -> bool:
        """Whether it is of a revision without a handshake."""
        return self.version in ENVELOPES

    @property
    def progress_token(self) -> str | int | None:
        """What to call the request by when telling how far it is; None: nobody wants to know."""
        token = _meta(self.params).get("progressToken")
        return token if isinstance(token, str | int) and not isinstance(token, bool) else None


class Tool(msgspec.Struct, frozen=True):
    """What an agent may call."""

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]


def decode(body: bytes, headers: Headers) -> Request:
    """The one message of a body; McpError for what is none."""
    try:
        value: object = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise McpError(PARSE_ERROR, "the body is not JSON", status=400) from None
    if not isinstance(value, dict):
        raise McpError(INVALID_REQUEST, "the body holds one message of JSON-RPC, and no batch", status=400)
    message = cast("dict[str, Any]", value)
    id_: Any = message.get("id")
    if message.get("jsonrpc") != "2.0" or ("id" in message and not _is_id(id_)):
        raise McpError(INVALID_REQUEST, "a message has jsonrpc 2.0, and an id that is a text or a number", status=400)
    method: object = message.get("method", "")
    params: object = message.get("params") or {}
    if "method" not in message and not ("result" in message or "error" in message):
        raise McpError(INVALID_REQUEST, "the message has no method", id=id_, status=400)
    if not isinstance(method, str) or not isinstance(params, dict):
        raise McpError(INVALID_REQUEST, "a method is a text, its params an object", id=id_, status=400)
    request = Request(id_, method, cast("dict[str, Any]", params), "")
    return msgspec.structs.replace(request, version=_version_of(request, headers))


def _is_id(value: object) -> bool:
    return (isinstance(value, str) and len(value) <= _LONGEST_ID) or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def _version_of(request: Request, headers: Headers) -> str:
    """The revision that a message is of; McpError where it contradicts itself, or is of one that is not spoken."""
    said = headers.get(VERSION_HEADER, b"").decode("latin-1")
    if said in ENVELOPES or _VERSION_KEY in _meta(request.params):
        return _checked_envelope(request, headers, said) if request.expects_answer else said or ENVELOPES[-1]
    if request.method == "initialize":
        asked = request.params.get("protocolVersion")
        return asked if isinstance(asked, str) and asked in HANDSHAKES else NEWEST
    if said and said not in HANDSHAKES:
        raise _unsupported(request, said)
    return said or ASSUMED


def _checked_envelope(request: Request, headers: Headers, said: str) -> str:
    meta = _meta(request.params)
    missing = [key for key in (_VERSION_KEY, _CAPABILITIES_KEY) if key not in meta]
    if missing:
        raise McpError(INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}", id=request.id, status=400)
    name = request.params.get("name") if request.method == "tools/call" else None
    pairs: list[tuple[bytes, object, str | None]] = [
        (VERSION_HEADER, meta[_VERSION_KEY], said),
        (METHOD_HEADER, request.method, headers.get(METHOD_HEADER, b"").decode("latin-1")),
    ]
    if name is not None:
        pairs.append((NAME_HEADER, name, _plain(headers.get(NAME_HEADER, b"").decode("latin-1"))))
    for header, meant, sent in pairs:
        if meant != sent:
            message = f"the header {header.decode()} is not what the body says"
            raise McpError(HEADER_MISMATCH, message, id=request.id, status=400)
    if said not in ENVELOPES:
        raise _unsupported(request, said)
    return said


def _unsupported(request: Request, said: str) -> McpError:
    data = {"supported": [*HANDSHAKES, *ENVELOPES], "requested": said[:64]}
    return McpError(UNSUPPORTED_VERSION, "Unsupported protocol version", data=data, id=request.id, status=400)


def _plain(text: str) -> str | None:
    """A header's value; one that no header can hold as it is comes in base64."""
    begin, end = _ENCODED
    if not (text.startswith(begin) and text.endswith(end)):
        return text
    try:
        return base64.b64decode(text[len(begin) : -len(end)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _meta(params: Mapping[str, Any]) -> Mapping[str, Any]:
    found: object = params.get("_meta")
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def server_info(version: str) -> dict[str, str]:
    """Who we are."""
    return {"name": "polyforge", "title": "Polyforge", "version": version}


def initialized(request: Request, version: str, instructions: str) -> dict[str, Any]:
    """The answer to `initialize`."""
    return {
        "protocolVersion": request.version,
        "capabilities": _CAPABILITIES,
        "serverInfo": server_info(version),
        "instructions": instructions,
    }


def discovered(instructions: str) -> dict[str, Any]:
    """The answer to `server/discover`."""
    return {
        "supportedVersions": [*HANDSHAKES, *ENVELOPES],
        "capabilities": _CAPABILITIES,
        "instructions": instructions,
        "ttlMs": 0,
        "cacheScope": "private",
    }


def listed(tools: Sequence[Tool], cursor: str | None, request: Request) -> dict[str, Any]:
    """The answer to `tools/list`."""
    told = [
        {
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "inputSchema": tool.input_schema,
            "outputSchema": tool.output_schema,
        }
        for tool in tools
    ]
    caching = {"ttlMs": 0, "cacheScope": "private"} if request.enveloped else {}
    return {"tools": told, **({} if cursor is None else {"nextCursor": cursor}), **caching}


def called(text: str, structured: Mapping[str, Any] | None, *, failed: bool) -> dict[str, Any]:
    """The answer to `tools/call`."""
    whole: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": failed}
    return whole if structured is None else {**whole, "structuredContent": structured}


def encode_result(request: Request, result: Mapping[str, Any], version: str) -> bytes:
    """An answer as it is sent."""
    if request.enveloped:
        result = {**result, "resultType": "complete", "_meta": {_SERVER_KEY: server_info(version)}}
    return _encode({"jsonrpc": "2.0", "id": request.id, "result": result})


def encode_error(error: McpError) -> bytes:
    """A refusal as it is sent."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return _encode({"jsonrpc": "2.0", "id": error.id, "error": told})


def status_of(error: McpError, request: Request) -> int:
    """The HTTP status of a refusal: older clients look at the message, newer ones at the status too."""
    return _STATUSES.get(error.code, 400) if request.enveloped else error.status


def encode_progress(token: str | int, done: float, total: float | None, message: str) -> bytes:
    """How far a request is."""
    params: dict[str, Any] = {"progressToken": token, "progress": done}
    if total is not None:
        params["total"] = total
    if message:
        params["message"] = message
    return _encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def frame_of(message: bytes) -> bytes:
    """A message as a server-sent event."""
    return b"event: message\ndata: " + message + b"\n\n"
