"""Stand-ins for Google Cloud Storage (its XML API) and Azure Blob Storage, as far as objects need them.

Sources: https://cloud.google.com/storage/docs/xml-api/reference-methods and
https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api.
"""

import base64
import hashlib
import hmac
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ACCOUNT = "acme"
ACCOUNT_KEY = base64.b64encode(b"a key of the test").decode()
PLACE = "files"
"""The one bucket or container that there is."""
_PAGE = 400
_MODIFIED = 1_780_000_000.0


class Cloud(BaseHTTPRequestHandler, ABC):
    """One request; `cloud` has the objects."""

    protocol_version = "HTTP/1.1"

    @property
    def cloud(self) -> "CloudServer":
        assert isinstance(self.server, CloudServer)
        return self.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as it is called
        del format, args

    def parsed(self) -> tuple[str, str, dict[str, str]]:
        """The bucket or container, the key, and what is asked."""
        parts = urlsplit(self.path)
        segments = unquote(parts.path).lstrip("/").split("/", self.cloud.depth)
        key = segments[self.cloud.depth] if len(segments) > self.cloud.depth else ""
        asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return segments[self.cloud.depth - 1], key, asked

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "content_length" not in headers:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give(self, key: str) -> None:
        """An object, or a range of it."""
        content = self.cloud.objects.get(key)
        if content is None:
            self.answer(404, x_ms_error_code="BlobNotFound")
            return
        facts = {"etag": _tag(content), "last_modified": formatdate(_MODIFIED, usegmt=True)}
        if (wanted := self.headers.get("if-match")) is not None and wanted != facts["etag"]:
            self.answer(412)
            return
        asked = self.headers.get("x-ms-range") or self.headers.get("range")
        if self.command == "HEAD" or asked is None:
            self.answer(200, content, content_length=str(len(content)), **facts)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        end = min(len(content), int(last) + 1 if last else len(content))
        part = content[int(first) : end]
        self.answer(206, part, content_range=f"bytes {first}-{end - 1}/{len(content)}", **facts)

    def keep(self, key: str, content: bytes) -> None:
        with self.cloud.lock:
            self.cloud.objects[key] = content

    def page(self, asked: dict[str, str], marker: str) -> tuple[list[tuple[str, bytes]], str]:
        """Some of the objects below a prefix, and where the next page begins."""
        with self.cloud.lock:
            found = sorted(
                (key, content)
                for key, content in self.cloud.objects.items()
                if key.startswith(asked.get("prefix", "")) and key >= marker
            )
        return found[:_PAGE], found[_PAGE][0] if len(found) > _PAGE else ""

    def do_GET(self) -> None:
        self.handle_one()

    def do_HEAD(self) -> None:
        self.handle_one()

    def do_PUT(self) -> None:
        self.handle_one()

    def do_POST(self) -> None:
        self.handle_one()

    def do_DELETE(self) -> None:
        self.handle_one()

    def handle_one(self) -> None:
        content = self.body()
        place, key, asked = self.parsed()
        if not self.allowed():
            self.answer(403, x_ms_error_code="AuthenticationFailed")
        elif place != PLACE:
            self.answer(404, x_ms_error_code="ContainerNotFound")
        elif self.command == "DELETE" and "uploadId" in asked:
            self.cloud.parts.pop(asked["uploadId"], None)
            self.answer(204)
        elif self.command == "DELETE":
            gone = self.cloud.objects.pop(key, None) is None
            self.answer(404 if gone else 202 if self.cloud.azure else 204)
        elif self.command in ("GET", "HEAD") and key:
            self.give(key)
        else:
            self.change(key, asked, content)

    def allowed(self) -> bool:
        return True

    @abstractmethod
    def change(self, key: str, asked: dict[str, str], content: bytes) -> None:
        """Answer what each cloud has its own words for: lists, and objects that are put whole or in parts."""


class Google(Cloud):
    """The XML API: parts are numbered and joined by number."""

    def change(self, key: str, asked: dict[str, str], content: bytes) -> None:
        if self.command == "GET":
            self._list(asked)
        elif "uploads" in asked:
            self.cloud.parts[key] = {}
            named = f"<InitiateMultipartUploadResult><UploadId>{key}</UploadId></InitiateMultipartUploadResult>"
            self.answer(200, f"<?xml version='1.0'?>{named}".encode())
        elif "partNumber" in asked:
            self.cloud.parts[asked["uploadId"]][asked["partNumber"]] = content
            self.answer(200, etag=_tag(content))
        elif "uploadId" in asked:
            parts = self.cloud.parts.pop(asked["uploadId"])
            numbers = [
                each.text or "" for each in ElementTree.fromstring(content).iter() if each.tag.endswith("Number")
            ]
            self.keep(key, b"".join(parts[number] for number in numbers))
            tag = escape(_tag(self.cloud.objects[key]))
            self.answer(
                200, f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>".encode()
            )
        else:
            self.keep(key, content)
            self.answer(200, etag=_tag(content))

    def _list(self, asked: dict[str, str]) -> None:
        found, following = self.page(asked, asked.get("continuation-token", ""))
        when = "2026-05-01T00:00:00.000Z"
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><LastModified>{when}</LastModified>"
            f"<ETag>{escape(_tag(content))}</ETag></Contents>"
            for key, content in found
        )
        more = f"<NextContinuationToken>{escape(following)}</NextContinuationToken>" if following else ""
        self.answer(200, f"<ListBucketResult>{more}{items}</ListBucketResult>".encode())


class Azure(Cloud):
    """The Blob service: blocks are named and joined by a list; every request is signed."""

    def allowed(self) -> bool:
        said = self.headers.get("authorization", "")
        expected = hmac.new(base64.b64decode(ACCOUNT_KEY), self._signed().encode(), hashlib.sha256)
        return said == f"SharedKey {ACCOUNT}:{base64.b64encode(expected.digest()).decode()}"

    def _signed(self) -> str:
        """What is signed: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key."""
        names = ("encoding", "language", "length", "md5", "type")
        plain = [self.headers.get(f"content-{name}", "") for name in names]
        plain[2] = "" if plain[2] == "0" else plain[2]
        others = ("date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")
        plain += [self.headers.get(name, "") for name in others]
        own = sorted((name.lower(), value) for name, value in self.headers.items() if name.lower().startswith("x-ms-"))
        parts = urlsplit(self.path)
        query = sorted(parse_qsl(parts.query, keep_blank_values=True))
        resource = f"/{ACCOUNT}{parts.path}" + "".join(f"\n{name.lower()}:{value}" for name, value in query)
        return "\n".join([self.command, *plain, *(f"{name}:{value}" for name, value in own), resource])

    def change(self, key: str, asked: dict[str, str], content: bytes) -> None:
        if self.command == "GET":
            self._list(asked)
            return
        if asked.get("comp") == "batch":
            self._delete(content)
            return
        if asked.get("comp") == "block":
            self.cloud.parts.setdefault(key, {})[asked["blockid"]] = content
        elif asked.get("comp") == "blocklist":
            parts = self.cloud.parts.pop(key)
            self.keep(key, b"".join(parts[each.text or ""] for each in ElementTree.fromstring(content)))
        elif self.headers.get("x-ms-blob-type") == "BlockBlob":
            self.keep(key, content)
        else:
            self.answer(400)
            return
        stored = self.cloud.objects.get(key, content)
        self.answer(201, etag=_tag(stored), last_modified=formatdate(_MODIFIED, usegmt=True))

    def _list(self, asked: dict[str, str]) -> None:
        found, following = self.page(asked, asked.get("marker", ""))
        when = formatdate(_MODIFIED, usegmt=True)
        items = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{when}</Last-Modified>"
            f"<Content-Length>{len(content)}</Content-Length><Content-Type>application/octet-stream</Content-Type>"
            f"<Etag>{escape(_tag(content))}</Etag></Properties></Blob>"
            for key, content in found
        )
        marker = f"<NextMarker>{escape(following)}</NextMarker>"
        self.answer(200, f"<EnumerationResults><Blobs>{items}</Blobs>{marker}</EnumerationResults>".encode())

    def _delete(self, content: bytes) -> None:
        """Several at once, each a request in a part of the body; obstore deletes one alone so too."""
        answers = ""
        for number, line in enumerate(found for found in content.decode().splitlines() if found.startswith("DELETE ")):
            key = unquote(line.split()[1]).lstrip("/").split(f"{PLACE}/", 1)[1]
            gone = self.cloud.objects.pop(key, None) is None
            status = "404 Not Found\r\nx-ms-error-code: BlobNotFound" if gone else "202 Accepted"
            part = f"Content-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}"
            answers += f"--answers\r\n{part}\r\nx-ms-version: 2026\r\nContent-Length: 0\r\n\r\n"
        self.answer(202, f"{answers}--answers--".encode(), content_type="multipart/mixed; boundary=answers")


class CloudServer(ThreadingHTTPServer):
    """The objects, and parts of those that are still coming."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, kind: type[Cloud]) -> None:
        super().__init__(("127.0.0.1", 0), kind)
        self.azure = kind is Azure
        self.depth = 2 if self.azure else 1
        """Segments of a path before the key: an emulator of Azure has the account first."""
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[str, bytes]] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        host, port = self.server_address[0], self.server_address[1]
        return f"http://{host!s}:{port}"


@contextmanager
def running(kind: type[Any]) -> Generator[CloudServer]:
    """A stand-in for as long as the block lasts."""
    server = CloudServer(kind)
    thread = threading.Thread(target=server.serve_forever, name="cloud", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
