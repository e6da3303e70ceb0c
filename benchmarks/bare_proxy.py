"""The least that an ASGI proxy on Polyforge's own stack can do: the yardstick of the benchmarks.

It decodes the model's name, forwards the body to that model's upstream, and passes the answer back: whole (`plain`)
or chunk by chunk (`stream`). `python -m benchmarks.bare_proxy plain 9001 '{"model": "http://127.0.0.1:9000/..."}'`
"""

import json
import sys
from typing import Any

import msgspec
import uvicorn
from pyreqwest.client import Client, ClientBuilder


class Wanted(msgspec.Struct):
    """The one field of a request that a proxy needs."""

    model: str


class BareProxy:
    """An ASGI application: one POST in, one POST out."""

    def __init__(self, upstreams: dict[str, str], *, streaming: bool) -> None:
        self._upstreams = upstreams
        self._streaming = streaming
        self._decode = msgspec.json.Decoder(Wanted).decode
        self._client: Client | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        assert self._client
        call = self._client.post(self._upstreams[self._decode(body).model]).body_bytes(body)
        call = call.header("content-type", "application/json").header("authorization", "Bearer sk-benchmark")
        await (self._stream(call, send) if self._streaming else self._answer(call, send))

    async def _answer(self, call: Any, send: Any) -> None:
        response = await call.build().send()
        data = bytes(await response.bytes())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    async def _stream(self, call: Any, send: Any) -> None:
        # By default pyreqwest collects up to 64 KiB of the body before it hands out anything.
        async with call.streamed_read_buffer_limit(0).build_streamed() as response:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            read = response.body_reader.read_chunk
            while (chunk := await read()) is not None:
                await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with ClientBuilder().build() as self._client:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def main() -> None:
    """Serve until killed: form (plain or stream), port, and upstream URLs by model as JSON."""
    form, port, upstreams = sys.argv[1:]
    app = BareProxy(json.loads(upstreams), streaming=form == "stream")
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
