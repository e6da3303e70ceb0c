"""A mail server that does what tests tell it to: it speaks enough of SMTP, with or without TLS."""

import select
import socket
import socketserver
import ssl
import threading
from pathlib import Path
from typing import Any


class MailServer:
    """Takes messages on a free port. `refuse` maps a verb to the answer that it gets instead of the usual one."""

    def __init__(self, certificate: Path | None = None, *, tls_at_once: bool = False) -> None:
        self.messages: list[tuple[list[str], bytes]] = []
        self.logins: list[str] = []
        self.plain_verbs: list[str] = []
        self.refuse: dict[str, bytes] = {}
        self.tls_at_once = tls_at_once
        self.drips = False
        self.hung_up = threading.Event()
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> "MailServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> Any:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                conversation = _Conversation(outer, self.request)
                try:
                    conversation.run()
                except (OSError, ValueError):
                    return
                finally:
                    conversation.close()

        return Handler


class _Conversation:
    """One client."""

    def __init__(self, server: MailServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._secured = False
        self._recipients: list[str] = []
        self._file = self._connection.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._connection.close()

    def run(self) -> None:
        if self._server.tls_at_once:
            self._secure()
        if self._server.drips:
            self._drip()
        self._say(b"220 ready")
        while line := self._file.readline():
            text = line.decode().strip()
            verb = text.split(" ")[0].upper()
            if not self._secured:
                self._server.plain_verbs.append(verb)
            if verb in self._server.refuse:
                self._say(self._server.refuse[verb])
                continue
            getattr(self, f"_{verb.lower()}", self._fine)(text)
            if verb == "QUIT":
                return

    def _drip(self) -> None:
        """A greeting that never ends, byte by byte, until the client hangs up."""
        try:
            while not select.select([self._connection], [], [], 0.02)[0]:
                self._connection.sendall(b"2")
        finally:
            self._server.hung_up.set()

    def _ehlo(self, text: str) -> None:
        offers = b"AUTH PLAIN" if self._secured or self._server.context is None else b"STARTTLS"
        self._say(b"250-mail.test\r\n250-%s\r\n250 HELP" % offers)

    def _starttls(self, text: str) -> None:
        self._say(b"220 go on")
        self._secure()

    def _auth(self, text: str) -> None:
        self._server.logins.append(text.split(" ")[2])
        self._say(b"235 welcome")

    def _rcpt(self, text: str) -> None:
        self._recipients.append(text.partition("<")[2].partition(">")[0])
        self._say(b"250 yes")

    def _data(self, text: str) -> None:
        self._say(b"354 go on")
        body = b""
        while (part := self._file.readline()) not in (b".\r\n", b""):
            # RFC 5321 section 4.5.2: a dot that begins a line comes twice.
            body += part.removeprefix(b".")
        self._server.messages.append((self._recipients, body))
        self._recipients = []
        self._say(b"250 taken")

    def _quit(self, text: str) -> None:
        self._say(b"221 bye")

    def _fine(self, text: str) -> None:
        self._say(b"250 fine")

    def _say(self, line: bytes) -> None:
        self._connection.sendall(line + b"\r\n")

    def _secure(self) -> None:
        assert self._server.context is not None
        self._connection = self._server.context.wrap_socket(self._connection, server_side=True)
        self._file.close()
        self._file = self._connection.makefile("rb")
        self._secured = True
