"""A target that remembers what it was sent."""

from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import ClassVar


class Listener(BaseHTTPRequestHandler):
    """Answers everything, and counts what it is told."""

    protocol_version = "HTTP/1.1"
    heard: ClassVar[Counter[tuple[str, bytes]]] = Counter()
    """How often each body came, by the host that it was sent to."""

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["content-length"]))
        self.heard[self.headers["host"], said] += 1
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing to say."""
