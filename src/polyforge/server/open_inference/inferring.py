"""Inference over the Open Inference Protocol: each request is an endpoint of the inference paths, and has all hops.

The model comes from the path, so there is an endpoint for each; bodies are passed on as the bytes that came.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from polyforge.dialects import oip
from polyforge.dialects.content_encoding import inflated, is_plain
from polyforge.dialects.oip_frames import FRAMES_TYPE, late_error_frame
from polyforge.dialects.oip_generate import event
from polyforge.dialects.oip_paths import InferenceOperation, is_inference, read_model_path
from polyforge.gateway.hosted import HostedModels
from polyforge.gateway.lineup import Lineup
from polyforge.kernel.tasks import InferenceRequest, TensorRequest
from polyforge.registry.catalog import Model
from polyforge.server.endpoints import Endpoint
from polyforge.server.http import Message, RawHeaders, Receive, Scope, header, read_body
from polyforge.server.open_inference.rendering import render_oip
from polyforge.tenancy.callers import Caller

OFFLOAD_BYTES: Final = 64 * 1024
"""Compressed bodies from this size on are inflated in a thread, so that the event loop goes on."""
_HEADER_LENGTH: Final = oip.HEADER_LENGTH.encode()
_FORMS: Final[Mapping[str, Any]] = {
    "generate_stream": {"late_error": event},
    "infer_stream": {"late_error": late_error_frame, "stream_type": FRAMES_TYPE.encode()},
}
"""How streamed answers look."""


class TensorEndpoints:
    """Makes the endpoints. `max_bytes` is the most that a body may have, compressed or not."""

    def __init__(self, hosted: HostedModels, max_bytes: int) -> None:
        self._hosted = hosted
        self._max_bytes = max_bytes

    def find(self, scope: Scope) -> Endpoint | None:
        """What answers to a request; None for one that asks for no inference."""
        path: str = scope["path"]
        asked = read_model_path(path)
        if asked is None or not is_inference(asked.operation):
            return None
        headers: RawHeaders = scope["headers"]
        length = header(headers, _HEADER_LENGTH) if asked.operation.startswith("infer") else None
        return Endpoint(
            path=path,
            decode=partial(_read, asked.name, asked.version, asked.operation, length),
            render=partial(render_oip, path),
            **_FORMS.get(asked.operation, {}),
            choose=self._choose,
            max_bytes=self._max_bytes,
            once=False,
        )

    def receiver(self, scope: Scope, receive: Receive) -> Receive:
        """What to take the body through: what was compressed comes out as it was before."""
        encoding = header(scope["headers"], b"content-encoding")
        if encoding is None or is_plain(encoding):
            return receive
        return partial(_inflate, receive, encoding, self._max_bytes)

    async def _choose(self, lineup: Lineup, caller: Caller, request: InferenceRequest) -> Model:
        return await self._hosted.choose(lineup.catalog, caller, cast(TensorRequest, request))


async def _inflate(receive: Receive, encoding: bytes, limit: int) -> Message:
    body = await read_body(receive, limit)
    undo: Callable[[], bytes] = partial(inflated, body, encoding, limit)
    whole = undo() if len(body) < OFFLOAD_BYTES else await asyncio.to_thread(undo)
    return {"type": "http.request", "body": whole, "more_body": False}


def _read(name: str, version: str, operation: InferenceOperation, length: bytes | None, body: bytes) -> TensorRequest:
    return TensorRequest(
        "inference",
        "oip",
        name,
        body,
        stream=operation.endswith("_stream"),
        operation=operation,
        version=version,
        header_length=oip.header_length_of(length, len(body)),
    )
