"""GET, POST /v1/files; GET, DELETE /v1/files/{id}; GET /v1/files/{id}/content. Bodies go past in pieces, both ways.

Source: https://platform.openai.com/docs/api-reference/files
"""

import asyncio
import re
from contextlib import aclosing
from functools import partial
from typing import Final

from polyforge.batch.files.records import File, Wish
from polyforge.batch.files.service import FileService
from polyforge.dialects.multipart_stream import FormReader
from polyforge.dialects.openai_files import (
    FIELDS,
    FileObject,
    encode_deleted,
    encode_file,
    encode_page,
    file_id,
    read_expiry,
    read_listing,
    read_purpose,
    ulid_of,
)
from polyforge.kernel.errors import Cancelled, Invalid, MethodNotAllowed, NotFound, TooLarge
from polyforge.server.http import (
    Message,
    Presence,
    RawHeaders,
    Receive,
    Scope,
    Send,
    declared_length,
    first_values,
    send_whole,
)
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

PATH: Final = "/v1/files"
PREFIX: Final = f"{PATH}/"
_CONTENT: Final = "/content"
_JSON: Final = (b"content-type", b"application/json")
_AROUND_BYTES: Final = 1024 * 1024
"""What a form may have beside its file."""
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_UNSAFE: Final = re.compile(r"[^ !#$&-+.-9A-Z^-z|~-]")
_WHOLE: Final = 200
_PART: Final = 206
_OUTSIDE: Final = 416


class Files:
    """What the paths of files do."""

    def __init__(self, service: FileService) -> None:
        self._service = service

    async def answer(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        """Answer one request; NotFound for a file that the caller's project does not have."""
        path, method = scope["path"], scope["method"]
        if path == PATH:
            _require(method, path, "GET", "POST")
            if method == "POST":
                await self._upload(scope, receive, send, caller)
            else:
                await self._list(scope, send, caller)
            return
        name: str = path.removeprefix(PREFIX)
        id_ = name.removesuffix(_CONTENT)
        if "/" in id_:
            raise NotFound(f"there is nothing at {path[:200]}")
        if name.endswith(_CONTENT):
            _require(method, path, "GET")
            await self._content(scope, send, caller, id_)
            return
        _require(method, path, "GET", "DELETE")
        if method == "DELETE":
            authorize(caller, "files:write")
            await self._service.delete(caller, ulid_of(id_))
            await send_whole(send, 200, [_JSON], encode_deleted(id_))
            return
        authorize(caller, "files:read")
        found = await self._service.get(caller, ulid_of(id_))
        await send_whole(send, 200, [_JSON], encode_file(_described(found)))

    async def _list(self, scope: Scope, send: Send, caller: Caller) -> None:
        authorize(caller, "files:read")
        asked = read_listing(scope["query_string"])
        found, more = await self._service.page(
            caller, asked.limit, after=asked.after, descending=asked.order == "desc", purpose=asked.purpose
        )
        items = [_described(each) for each in found]
        await send_whole(send, 200, [_JSON], encode_page(items, [each.id for each in items], more=more))

    async def _upload(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        authorize(caller, "files:write")
        limit = self._service.max_bytes + _AROUND_BYTES
        declared_length(first_values(scope["headers"]), limit)
        form, fields = FormReader(_Pieces(receive, limit).next), dict[str, str]()
        name = await _to_file(form, fields)
        if name is None:
            raise Invalid("file: the form must hold one, with a file name", param="file")
        kept = await self._service.upload(caller, name, form.content(), partial(_rest, form, fields))
        await send_whole(send, 200, [_JSON], encode_file(_described(kept)))

    async def _content(self, scope: Scope, send: Send, caller: Caller, id_: str) -> None:
        authorize(caller, "files:read")
        file = await self._service.get(caller, ulid_of(id_))
        headers = first_values(scope["headers"])
        asked = headers.get(b"range", b"").decode("latin-1")
        if headers.get(b"if-range", file.sha256.encode()).strip(b'"') != file.sha256.encode():
            asked = ""
        first, end = _range_of(asked, file.size)
        if first is None:
            told: RawHeaders = [(b"content-range", b"bytes */%d" % file.size)]
            await send_whole(send, _OUTSIDE, told, b"")
            return
        status = _PART if asked and end - first != file.size else _WHOLE
        begin: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": _headers(file, first, end, status),
        }
        presence = Presence(scope)
        try:
            await self._send(send, caller, file, first, end, begin)
        except asyncio.CancelledError:
            if not presence.left:
                raise
        finally:
            presence.end()

    async def _send(self, send: Send, caller: Caller, file: File, first: int, end: int, begin: Message) -> None:
        """The head goes out once the first bytes are there: until then it can be an error."""
        begun = False
        async with aclosing(self._service.content(caller, file, first, end - first)) as pieces:
            async for piece in pieces:
                if not begun:
                    await send(begin)
                    begun = True
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not begun:
            await send(begin)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Pieces:
    """A body as it comes, with a limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._over = False

    async def next(self) -> bytes:
        """The next piece, an empty one at the end; Cancelled when the caller hangs up, TooLarge past the limit."""
        while not self._over:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Cancelled("the connection was closed before the body was complete")
            piece: bytes = message.get("body", b"")
            self._over = not message.get("more_body")
            self._size += len(piece)
            if self._size > self._limit:
                raise TooLarge(f"at most {self._limit} bytes are taken")
            if piece:
                return piece
        return b""


async def _to_file(form: FormReader, fields: dict[str, str]) -> str | None:
    """Read fields up to the file; what it is called, None when no file comes any more."""
    while (head := await form.next()) is not None:
        if head.file_name is not None:
            if head.name != "file" or not head.plain:
                raise Invalid("the file of the form must be in the field `file`, as it is", param="file")
            return head.file_name
        if head.name not in FIELDS:
            continue
        if head.name in fields:
            raise Invalid(f"{head.name[:60]} must stand once", param=head.name[:60])
        fields[head.name] = await form.text(head)
    return None


async def _rest(form: FormReader, fields: dict[str, str]) -> Wish:
    """What the fields before and behind the file say of it."""
    if await _to_file(form, fields) is not None:
        raise Invalid("file must stand once", param="file")
    return Wish(read_purpose(fields), read_expiry(fields))


def _described(file: File) -> FileObject:
    return FileObject(
        id=file_id(file.id),
        bytes=file.size,
        created_at=int(file.created_at),
        expires_at=None if file.expires_at is None else int(file.expires_at),
        filename=file.name,
        purpose=file.purpose,
    )


def _range_of(asked: str, size: int) -> tuple[int, int] | tuple[None, int]:
    """The first byte and the one behind the last; all where no single range is asked for, None where it is outside."""
    found = _RANGE.fullmatch(asked)
    if found is None or found[0] == "bytes=-":
        return 0, size
    if not found[1]:
        last = int(found[2])
        return (max(0, size - last), size) if last else (None, size)
    first = int(found[1])
    end = min(size, int(found[2]) + 1) if found[2] else size
    if found[2] and int(found[2]) < first:
        return 0, size
    return (first, end) if first < size else (None, size)


def _headers(file: File, first: int, end: int, status: int) -> RawHeaders:
    """Never shown as a page of ours, whatever is in it."""
    name = _UNSAFE.sub("_", file.name)
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"content-length", b"%d" % (end - first)),
        (b"accept-ranges", b"bytes"),
        (b"etag", f'"{file.sha256}"'.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"private, no-cache"),
    ]
    if status == _PART:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, end - 1, file.size)))
    return headers


def _require(method: str, path: str, *allowed: str) -> None:
    if method not in allowed:
        raise MethodNotAllowed(f"{path[:200]} takes {' and '.join(allowed)}", allowed=", ".join(allowed))
