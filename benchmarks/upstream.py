"""nginx as a canned model provider: one port answers whole, one streams, one takes traces and answers nothing."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Program, free_port

STREAM_CHUNKS = 100
"""Content frames in the canned stream; the finish, the usage and [DONE] come on top."""
FRAME_BYTES = 256
"""Size of one frame: nginx reads and sends the file in pieces of this size."""
MODEL = "canned-1"
WORDS = ("the", "lamp", "over", "a", "quiet", "harbour", "turns", "and", "counts", "ships")

CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    server_tokens off;
    etag off;
    sendfile off;
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 100000000;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    open_file_cache max=16;
    open_file_cache_valid 600s;

    # A POST to a file is 405 in nginx, which the error page turns into the file. The mirror makes it read
    # the whole request body first, as a real provider does.
    server {{
        listen 127.0.0.1:{whole};
        root {folder}/replies;
        error_page 405 =200 /reply.json;
        location / {{ rewrite ^ /reply.json break; mirror /sink; mirror_request_body on; }}
        location = /sink {{ internal; return 204; }}
        location = /reply.json {{ internal; types {{}} default_type application/json; }}
    }}

    # The filter never matches: it only removes the length, so that the stream is chunked as a real one is.
    server {{
        listen 127.0.0.1:{stream};
        root {folder}/replies;
        error_page 405 =200 /reply.sse;
        location / {{ rewrite ^ /reply.sse break; mirror /sink; mirror_request_body on; }}
        location = /sink {{ internal; return 204; }}
        location = /reply.sse {{
            internal;
            types {{}} default_type text/event-stream;
            sub_filter_types text/event-stream;
            sub_filter "@never@" "";
            output_buffers 1 {frame};
            postpone_output 0;
        }}
    }}

    server {{
        listen 127.0.0.1:{sink};
        location / {{ default_type application/json; return 200 "{{}}"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Ports:
    """Where the canned upstream listens."""

    whole: int
    stream: int
    sink: int


class CannedUpstream:
    """nginx with generated configuration and replies in a folder of its own."""

    def __init__(self, folder: Path, core: int) -> None:
        self.ports = Ports(free_port(), free_port(), free_port())
        self._folder = folder
        self._program = Program(
            ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "nginx-error.log"],
            core,
            folder / "nginx.log",
        )

    def start(self) -> None:
        """Write the configuration, start nginx, wait for it."""
        replies = self._folder / "replies"
        replies.mkdir(parents=True)
        (replies / "reply.json").write_bytes(whole_reply())
        (replies / "reply.sse").write_bytes(streamed_reply())
        ports = {"whole": self.ports.whole, "stream": self.ports.stream, "sink": self.ports.sink}
        user = "user root;" if os.getuid() == 0 else ""
        configuration = CONFIGURATION.format(folder=self._folder, user=user, frame=FRAME_BYTES, **ports)
        (self._folder / "nginx.conf").write_text(configuration)
        self._program.start()
        self._program.wait_ready(f"http://127.0.0.1:{self.ports.sink}/", 10)

    def check(self) -> None:
        """Raise StartFailed if nginx has ended."""
        self._program.check()

    def stop(self) -> None:
        """End nginx."""
        self._program.stop()


def whole_reply() -> bytes:
    """A chat completion of about 1 kB."""
    text = " ".join(WORDS[index % len(WORDS)] for index in range(130))
    nothing: list[str] = []
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": nothing}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return json.dumps(_envelope("chat.completion") | {"choices": [choice], "usage": usage(130)}).encode()


def streamed_reply() -> bytes:
    """The same as server-sent events: a frame per word, the finish, the usage, [DONE]."""
    frames = [padded_frame(content_chunk(WORDS[index % len(WORDS)] + " ")) for index in range(STREAM_CHUNKS)]
    return b"".join([*frames, padded_frame(finish_chunk()), padded_frame(usage_chunk(STREAM_CHUNKS)), DONE])


DONE = b"data: [DONE]\n\n"


def content_chunk(text: str) -> dict[str, object]:
    """A chunk of a streamed chat completion with some text."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": None}
    return _envelope("chat.completion.chunk") | {"choices": [choice], "usage": None}


def finish_chunk() -> dict[str, object]:
    """The chunk that says why the text ends."""
    delta: dict[str, str] = {}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": "stop"}
    return _envelope("chat.completion.chunk") | {"choices": [choice], "usage": None}


def usage_chunk(tokens: int) -> dict[str, object]:
    """The chunk that counts tokens; it has no choices."""
    choices: list[object] = []
    return _envelope("chat.completion.chunk") | {"choices": choices, "usage": usage(tokens)}


def padded_frame(chunk: dict[str, object]) -> bytes:
    """A frame of exactly FRAME_BYTES where the chunk allows it, filled as providers do to hide the length of words."""
    bare = frame(chunk | {"obfuscation": ""})
    return frame(chunk | {"obfuscation": "x" * max(0, FRAME_BYTES - len(bare))})


def frame(chunk: dict[str, object]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def usage(tokens: int) -> dict[str, int]:
    """A usage object; the prompt's part is made up."""
    return {"prompt_tokens": 200, "completion_tokens": tokens, "total_tokens": 200 + tokens}


def _envelope(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-benchmark", "object": kind, "created": 1_750_000_000, "model": MODEL}
