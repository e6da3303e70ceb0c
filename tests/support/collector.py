"""Where copies of logs are sent to over HTTP: takes them, refuses them for good, or is out of order, as tests say."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.ports import LOOPBACK

TAKEN = 200
REFUSED = 422
OUT_OF_ORDER = 503


class Collector:
    """The destination. `status` is what it answers to the next batches; it keeps those that it takes."""

    def __init__(self, status: int = TAKEN) -> None:
        self.status = status
        self.taken: list[bytes] = []
        self.tries = 0
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> int:
        """The status for a batch."""
        self.tries += 1
        if self.status == TAKEN:
            self.taken.append(body)
        return self.status

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status = collector.take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        return Handler
