"""The HTTP API as commands call it: the standard library's client, because a command makes one request and ends."""

import http.client
import ipaddress
import itertools
import json
import os
import re
import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from polyforge import __version__
from polyforge.cli.errors import CommandError, Refused

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DATA = "polyforge-data"
TIMEOUT_SECONDS = 60.0
MODEL_SECONDS = 600.0
"""How long a model may take to answer."""
HINTS = {401: "run `polyforge login`, pass --key, or set POLYFORGE_API_KEY"}

NO_HINT = "wrong_credentials"
"""The code of an error that tells all there is to tell."""
PAGE = 1000
"""As many as a page may hold."""
_CHUNK_BYTES = 64 * 1024
_KEY = re.compile(r"[!-~]+")
"""What a header may hold; Python's client repeats anything else in its error."""

Query = Mapping[str, str | list[str] | None]


@dataclass(frozen=True)
class SignedIn:
    """What `polyforge login` keeps of a session."""

    email: str
    cookie: str
    """As it is sent: `name=value`."""
    csrf: str


class ApiClient:
    """One gateway, as one key, or as somebody who signed in."""

    def __init__(self, url: str, key: str | None, session: SignedIn | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandError(f"{url!r} is not an address of a gateway; it should look like {DEFAULT_URL}")
        if key is not None and not _KEY.fullmatch(key):
            raise CommandError("the key holds spaces or other characters that no key has; copy it again")
        self._url = url.rstrip("/")
        self._tls = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._base = parts.path.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._key = key
        self._session = session

    def get(self, path: str, query: Query | None = None) -> Any:
        """The decoded answer to a GET."""
        return self._call("GET", _with_query(path, query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The decoded answer to a POST of JSON."""
        return self._call("POST", path, body or {})

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The decoded answer to a POST of JSON that a model has to answer first."""
        with self._asked("POST", path, body, MODEL_SECONDS) as response:
            content = response.read()
        return self._decode(response.status, content)

    def post_lines(self, path: str, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The lines of what a model answers to a POST of JSON as they come, each with its line break."""
        with self._asked("POST", path, body, MODEL_SECONDS) as response:
            yield from self._lines_of(response)

    def post_for_cookie(self, path: str, body: Mapping[str, Any]) -> tuple[Any, str | None]:
        """The decoded answer to a POST of JSON, and the cookie that came with it, as `name=value`."""
        with self._asked("POST", path, body) as response:
            content, cookie = response.read(), response.headers.get("set-cookie")
        return self._decode(response.status, content), cookie.partition(";")[0] if cookie else None

    def send_file(
        self, method: str, path: str, content: bytes, query: Query | None = None, if_match: str | None = None
    ) -> Any:
        """The decoded answer to a file of JSON, sent as it is; `if_match`: the ETag of what it is to replace."""
        headers = {} if if_match is None else {"if-match": if_match}
        with self._asked(method, _with_query(path, query), content, headers=headers) as response:
            answer = response.read()
        return self._decode(response.status, answer)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """The decoded answer to a PATCH of JSON."""
        return self._call("PATCH", path, body)

    def pages(self, path: str, query: Query | None = None, most: int | None = None) -> Iterator[dict[str, Any]]:
        """What is in a list, page by page: all of it, or as much as `most`."""
        left, cursor = most, None
        while left is None or left > 0:
            limit = PAGE if left is None else min(left, PAGE)
            page = self.get(path, {**(query or {}), "limit": str(limit), "cursor": cursor})
            yield from page["data"]
            left = None if left is None else left - len(page["data"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The decoded answer to a PUT of JSON."""
        return self._call("PUT", path, body)

    def delete(self, path: str, query: Query | None = None) -> Any:
        """The decoded answer to a DELETE; None when it has no body."""
        return self._call("DELETE", _with_query(path, query))

    def lines(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The lines of the answer to a GET as they come, each with its line break."""
        with self._asked("GET", _with_query(path, query)) as response:
            yield from self._lines_of(response)

    def chunks(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The answer to a GET as it comes, some bytes at a time."""
        with self._asked("GET", _with_query(path, query)) as response:
            if response.status >= http.HTTPStatus.MULTIPLE_CHOICES:
                self._decode(response.status, response.read())
            while chunk := response.read(_CHUNK_BYTES):
                yield chunk

    def upload(self, path: str, file: Path, fields: Mapping[str, str]) -> Any:
        """The decoded answer to a POST of a form with a file, which is sent as it is read."""
        boundary = secrets.token_hex(16)
        parts = [f"{_part_of(boundary, name)}\r\n\r\n{value}\r\n" for name, value in fields.items()]
        name = file.name.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        beginning = f'{"".join(parts)}{_part_of(boundary, "file")}; filename="{name}"\r\n\r\n'.encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        try:
            size = file.stat().st_size
            with file.open("rb") as content:
                body = itertools.chain([beginning], iter(partial(content.read, _CHUNK_BYTES), b""), [end])
                headers = {
                    "content-type": f"multipart/form-data; boundary={boundary}",
                    "content-length": str(len(beginning) + size + len(end)),
                }
                with self._asked("POST", path, body, MODEL_SECONDS, headers) as response:
                    answer = response.read()
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from error
        return self._decode(response.status, answer)

    def _lines_of(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        if response.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            self._decode(response.status, response.read())
        while line := response.readline():
            yield line

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with self._asked(method, path, body) as response:
            content = response.read()
        return self._decode(response.status, content)

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | Iterator[bytes] | None = None,
        seconds: float = TIMEOUT_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[http.client.HTTPResponse]:
        """The answer to a request, to be read inside the block; CommandError when there is none, or it breaks off."""
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=seconds)
        try:
            content = json.dumps(body).encode() if isinstance(body, Mapping) else body
            connection.request(method, self._base + path, content, {**self._headers(), **(headers or {})})
            yield connection.getresponse()
        except ConnectionRefusedError as error:
            raise CommandError(f"nothing answers at {self._url}; run `polyforge up`, or pass --url") from error
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"cannot reach {self._url}: {error or type(error).__name__}") from error
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"user-agent": f"polyforge-cli/{__version__}", "content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        elif self._session:
            headers |= {"cookie": self._session.cookie, "x-polyforge-csrf": self._session.csrf}
            headers["origin"] = self._origin
        return headers

    def _decode(self, status: int, content: bytes) -> Any:
        if not content and status < http.HTTPStatus.MULTIPLE_CHOICES:
            return None
        try:
            answer: Any = json.loads(content)
        except ValueError as error:
            raise CommandError(f"{self._url} answered {status} and no JSON; is it a Polyforge gateway?") from error
        if status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise Refused(explain(status, answer), status)
        return answer


def _part_of(boundary: str, name: str) -> str:
    return f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"'


def _with_query(path: str, query: Query | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def explain(status: int, answer: Any) -> str:
    """What to say of an error of the API, whichever of its two forms it has, with what to do about it."""
    fields = cast(dict[str, Any], answer) if isinstance(answer, dict) else {}
    inner: Any = fields.get("error")
    if isinstance(inner, dict):
        fields = cast(dict[str, Any], inner)
    message = str(fields.get("detail") or fields.get("message") or f"the gateway answered {status}")
    if request_id := fields.get("request_id"):
        message += f" (request {request_id})" if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR else ""
    problems: list[dict[str, Any]] = fields.get("problems", [])
    if len(problems) > 1:
        # The message is the first of them.
        message += "".join(f"\n  {line}" for line in problem_lines(problems))
    return f"{message}; {HINTS[status]}" if status in HINTS and fields.get("code") != NO_HINT else message


def problem_lines(problems: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with a flow, a line each: where, and what to do."""
    for each in problems:
        place = each.get("node") or each.get("param") or "flow"
        hint = f"; {each['hint']}" if each.get("hint") else ""
        kind = "warning: " if each.get("severity") == "warning" else ""
        yield f"{place}: {kind}{each['message']}{hint}"


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def named_key(given: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key that somebody named: the given one, or that of the environment."""
    for key in (given, environ.get("POLYFORGE_API_KEY"), environ.get("POLYFORGE_ADMIN_KEY")):
        # Variables that are read from files often end with a line break.
        if key and key.strip():
            return key.strip()
    return None


def find_key(url: str, given: str | None, data: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key to use: the given one, that of the environment, or, on this machine only, the one in the data folder.

    The admin key in the data folder is for this machine's gateway, so it is never sent to another.
    """
    if key := named_key(given, environ):
        return key
    if not is_loopback(urlsplit(url).hostname or ""):
        return None
    path = Path(data or environ.get("POLYFORGE_DATA") or DEFAULT_DATA) / "admin.key"
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
