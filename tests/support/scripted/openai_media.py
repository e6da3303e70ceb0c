"""OpenAI's images, audio and moderations as a scripted server; forms are read by the standard library's mail parser.

The model says what goes wrong: `cut` (the connection ends in the middle), `html`, `refuse`, `fail`, `huge`, `empty`,
`untold` (no usage), `broken` (a stream of events without its last).

Source: https://platform.openai.com/docs/api-reference and the types of the official client, which reads it.
"""

import base64
import json
from collections.abc import Mapping
from email.parser import BytesParser
from typing import Any, Final, cast

from tests.support.behaviours import Behaviour, Exchange, Fail, Other, Play
from tests.support.upstream import Received, Upstream

TEXT: Final = "Grüße vom Band."
SOUND: Final = bytes(range(256)) * 64
PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
IMAGE_USAGE: Final = {
    "input_tokens": 50,
    "output_tokens": 1056,
    "total_tokens": 1106,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 1056},
}
HEARD_USAGE: Final = {
    "type": "tokens",
    "input_tokens": 14,
    "output_tokens": 45,
    "total_tokens": 59,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
}
SPOKEN_USAGE: Final = {"input_tokens": 6, "output_tokens": 90, "total_tokens": 96}
SRT: Final = f"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n2\n00:00:01,000 --> 00:01:02,500\n{TEXT}\n\n"
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream; charset=utf-8"


def form_of(request: Received) -> dict[str, list[bytes]]:
    """The fields of a form, by name."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + request.body)
    fields: dict[str, list[bytes]] = {}
    for part in message.walk():
        if not part.is_multipart():
            name = str(part.get_param("name", header="content-disposition"))
            fields.setdefault(name, []).append(cast(bytes, part.get_payload(decode=True)))
    return fields


class MediaUpstream(Upstream):
    """Answers every path that is not chat."""

    def note(self, request: Received) -> Behaviour:
        """Write down what is asked; the answer follows from path and model."""
        fields: Mapping[str, Any] = request.json
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            fields = {name: values[0].decode("latin-1") for name, values in form_of(request).items()}
        request.model = str(fields.get("model"))
        super().note(request)
        fault = {
            "html": Other(),
            "fail": Fail(500),
            "refuse": Fail(400, "scripted invalid", "invalid_request_error", "invalid_value", "prompt"),
        }
        if request.model in fault:
            return fault[request.model]
        kind, chunks = _answer(request.path, fields)
        return Play(_Played(kind, chunks, cut=request.model == "cut").play)

    def last(self) -> Received:
        """What was asked last."""
        return self.requests()[-1]


class _Played:
    def __init__(self, kind: str, chunks: list[bytes], *, cut: bool) -> None:
        self._kind = kind
        self._chunks = chunks
        self._cut = cut

    async def play(self, exchange: Exchange) -> None:
        whole = len(self._chunks) == 1
        await exchange.head(200, {"content-type": self._kind}, len(self._chunks[0]) + self._cut if whole else None)
        for chunk in self._chunks:
            await exchange.body(chunk)
        if self._cut:
            exchange.close()
        else:
            await exchange.end()


def _answer(path: str, fields: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    if path.endswith("/moderations"):
        return _JSON, [_whole(id="modr-1", model="omni-2026", results=[_moderated()])]
    if "/images/" in path:
        return _images(path, fields)
    if path.endswith("/audio/speech"):
        return _speech(fields)
    return _transcript(path, fields)


def _images(path: str, fields: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    model, stream = fields["model"], str(fields.get("stream")).lower() == "true"
    picture = base64.b64encode(PNG).decode()
    told = {} if model == "untold" else {"usage": IMAGE_USAGE}
    if not stream:
        number = 100_000 if model == "huge" else int(fields.get("n") or 1)
        data = [{"b64_json": picture * (number if model == "huge" else 1)}] * (1 if model == "huge" else number)
        return _JSON, [_whole(created=1, data=data, **told)]
    kind = "image_edit" if path.endswith("edits") else "image_generation"
    shape = {"b64_json": picture, "created_at": 1, "size": "1024x1024", "quality": "low"}
    shape |= {"background": "opaque", "output_format": "png"}
    partial = _event(type=f"{kind}.partial_image", partial_image_index=0, **shape)
    if model == "broken":
        return _EVENTS, [partial, b""]
    return _EVENTS, [partial, _event(type=f"{kind}.completed", **shape, **told)]


def _speech(fields: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    if fields.get("stream_format") != "sse":
        return "audio/mpeg", [b"", b""] if fields["model"] == "empty" else [SOUND[:5000], SOUND[5000:]]
    piece = _event(type="speech.audio.delta", audio=base64.b64encode(SOUND).decode())
    return _EVENTS, [piece, _event(type="speech.audio.done", usage=SPOKEN_USAGE)]


def _transcript(path: str, fields: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    model, form = fields["model"], fields.get("response_format") or "json"
    if str(fields.get("stream")).lower() == "true" and model != "whisper":
        pieces = [_event(type="transcript.text.delta", delta=piece) for piece in (TEXT[:5], TEXT[5:])]
        last = _event(type="transcript.text.done", text=TEXT, usage=HEARD_USAGE)
        return _EVENTS, pieces if model == "broken" else [*pieces, last]
    if form in ("text", "srt", "vtt"):
        text = SRT if form == "srt" else f"{TEXT}\n"
        return "text/plain; charset=utf-8", [text.encode()]
    if form == "verbose_json":
        told: dict[str, Any] = {"duration": 8.47, "language": "german", "segments": [], "task": "transcribe"}
    elif model == "untold":
        told = {}
    else:
        told = {"usage": {"type": "duration", "seconds": 9} if model == "whisper" else HEARD_USAGE}
    return _JSON, [_whole(text="English." if "translations" in path else TEXT, **told)]


def _moderated() -> dict[str, Any]:
    names = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
    return {
        "flagged": True,
        "categories": {name: name == "violence" for name in names},
        "category_scores": dict.fromkeys(names, 0.1),
        "category_applied_input_types": {name: ["text"] for name in names},
    }


def _whole(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"
