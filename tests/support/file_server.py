"""A server of files that knows ranges and validators, and can be told to break off, to redirect and to refuse."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from tests.support.waiting import DEADLINE


@dataclass
class Request:
    """What was asked."""

    path: str
    headers: dict[str, str]


@dataclass
class FileServer:
    """Files by path. `breaks` are how many bytes each answer has before the connection ends, one per answer."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    redirects: dict[str, str] = field(default_factory=dict[str, str])
    statuses: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    breaks: list[int] = field(default_factory=list[int])
    stalls: int | None = None
    """After how many bytes of an answer nothing more comes."""
    ranges: bool = True
    requests: list[Request] = field(default_factory=list[Request])
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def downloads(self) -> list[Request]:
        """Requests that were not only to look."""
        return [each for each in self.requests if each.headers.get("range") != "bytes=0-0"]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = [line.partition(": ") for line in lines[1:] if line]
                request = Request(lines[0].split(" ")[1], {name.lower(): value for name, _, value in pairs})
                self.requests.append(request)
                whole = self._answer(request, writer)
                await writer.drain()
                if self.stalls is not None and not whole:
                    await reader.read()
                if not whole:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        path = request.path.partition("?")[0]
        looks = request.headers.get("range") == "bytes=0-0"
        if statuses := self.statuses.get(path):
            return _head(writer, statuses.pop(0), {"content-length": "0"})
        if path in self.redirects:
            return _head(writer, 302, {"location": self.redirects[path], "content-length": "0"})
        content = self.files.get(request.path, self.files.get(path))
        if content is None:
            return _head(writer, 404, {"content-length": "0"})
        most = self.stalls if self.stalls is not None or not self.breaks else self.breaks.pop(0)
        return self._send(request, path, content, writer, None if looks else most)

    def _send(
        self, request: Request, path: str, content: bytes, writer: asyncio.StreamWriter, most: int | None
    ) -> bool:
        tag = self.tags.get(path)
        fields = {"etag": tag} if tag else {}
        asked = request.headers.get("range") if self.ranges else None
        wanted = request.headers.get("if-range")
        if asked is None or (wanted is not None and wanted != tag):
            body = content
            _head(writer, 200, {**fields, "content-length": str(len(body))})
        else:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            body = content[int(first) : int(last) + 1 if last else None]
            if not body:
                return _head(writer, 416, {"content-length": "0"})
            span = f"bytes {first}-{int(first) + len(body) - 1}/{len(content)}"
            _head(writer, 206, {**fields, "content-range": span, "content-length": str(len(body))})
        writer.write(body if most is None else body[:most])
        return most is None


def _head(writer: asyncio.StreamWriter, status: int, fields: dict[str, str]) -> bool:
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in fields.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    return True


@asynccontextmanager
async def serving_files() -> AsyncGenerator[FileServer]:
    """A server on a free port of this machine."""
    files = FileServer()
    server = await asyncio.start_server(files._serve, "127.0.0.1", 0)
    files.port = server.sockets[0].getsockname()[1]
    try:
        yield files
    finally:
        server.close()
        for writer in files.writers:
            writer.close()
        # So that those who served them see it before the loop ends.
        await asyncio.sleep(0.01)


@contextmanager
def serving_files_aside() -> Generator[FileServer]:
    """The same in a thread of its own, for tests that have no event loop."""
    started: queue.SimpleQueue[tuple[FileServer, asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()

    async def serve() -> None:
        over = asyncio.Event()
        async with serving_files() as files:
            started.put((files, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="files", daemon=True)
    thread.start()
    files, loop, over = started.get(timeout=DEADLINE)
    try:
        yield files
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(DEADLINE)
