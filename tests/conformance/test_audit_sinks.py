"""Every sink of audit events against the suite of its port, and what each does beside."""

import asyncio
import contextlib
import http.server
import json
import os
import re
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polyforge.adapters.audit_sinks import file, https, syslog
from polyforge.kernel.errors import Invalid, NotConfigured, SettingsError, Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.ports.audit_sink import AuditSink
from polyforge.ports.secret_source import Stop
from tests.conformance.audit_sinks import LINES, AuditSinkSuite, NoSecrets, arrived
from tests.support.certificates import self_signed
from tests.support.ports import free_port

FRAME = re.compile(rb"<109>1 (\S+) (\S+) polyforge - (\S+) - (\{.*)", re.DOTALL)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost that vouches for itself, with its key in the same file."""
    return self_signed(tmp_path_factory.mktemp("certificate"))


def server_tls(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


# --- receivers ---


class HttpReceiver:
    """A web server that takes lines of JSON; `answers` are statuses and headers for the next requests."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.lines: list[bytes] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.port = free_port()
        self.scheme = "https" if certificate else "http"
        self._tls = server_tls(certificate)
        self._server: http.server.ThreadingHTTPServer | None = None

    async def up(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    async def down(self) -> None:
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._server = None

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
                if status < 300:
                    assert body.endswith(b"\n")
                    receiver.lines += body[:-1].split(b"\n")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                del format, args

        return Handler


class SyslogReceiver:
    """A syslog server over TCP or TLS that understands octet counting and nothing else."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.frames: list[bytes] = []
        self.port = free_port()
        self._tls = server_tls(certificate)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def lines(self) -> list[bytes]:
        return [parsed(frame)[3] for frame in self.frames]

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)

    async def down(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            self._server = None
            await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                length = await reader.readuntil(b" ")
                self.frames.append(await reader.readexactly(int(length)))
        self._writers.discard(writer)
        writer.close()


class DatagramReceiver(asyncio.DatagramProtocol):
    """A syslog server over UDP."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.port = free_port()
        self._transport: asyncio.BaseTransport | None = None

    @property
    def lines(self) -> list[bytes]:
        return [parsed(frame)[3] for frame in self.frames]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr
        self.frames.append(data)

    async def up(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))

    async def down(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            await asyncio.sleep(0.02)


class FolderReceiver:
    """A folder that is there or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "audit.jsonl"
        self._away = folder.with_name("away")

    @property
    def lines(self) -> list[bytes]:
        content = self.path.read_bytes() if self.path.exists() else b""
        assert not content or content.endswith(b"\n")
        return content.split(b"\n")[:-1]

    async def up(self) -> None:
        if self._away.exists():
            self._away.rename(self.folder)
        else:
            self.folder.mkdir()

    async def down(self) -> None:
        if self.folder.exists():
            self.folder.rename(self._away)


def parsed(frame: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    found = FRAME.fullmatch(frame)
    assert found is not None, frame
    time, host, action, line = found.groups()
    return time, host, action, line


# --- the suite ---


class TestHttp(AuditSinkSuite):
    """Over HTTP."""

    @pytest.fixture
    def receiver(self) -> HttpReceiver:
        return HttpReceiver()

    @pytest.fixture
    def make(self, receiver: HttpReceiver) -> Callable[[], AuditSink]:
        return lambda: https.HttpsSink(https.Settings(url=f"http://127.0.0.1:{receiver.port}/in?a=b"))


class TestHttps(AuditSinkSuite):
    """Over HTTPS, with an authority of one's own."""

    @pytest.fixture
    def receiver(self, certificate: Path) -> HttpReceiver:
        return HttpReceiver(certificate)

    @pytest.fixture
    def make(self, receiver: HttpReceiver, certificate: Path) -> Callable[[], AuditSink]:
        return lambda: https.HttpsSink(https.Settings(url=f"https://localhost:{receiver.port}/", ca=certificate))


class TestSyslogTcp(AuditSinkSuite):
    """Over TCP."""

    @pytest.fixture
    def receiver(self) -> SyslogReceiver:
        return SyslogReceiver()

    @pytest.fixture
    def make(self, receiver: SyslogReceiver) -> Callable[[], AuditSink]:
        return lambda: syslog_sink(receiver.port, "tcp")


class TestSyslogTls(AuditSinkSuite):
    """Over TLS."""

    @pytest.fixture
    def receiver(self, certificate: Path) -> SyslogReceiver:
        return SyslogReceiver(certificate)

    @pytest.fixture
    def make(self, receiver: SyslogReceiver, certificate: Path) -> Callable[[], AuditSink]:
        return lambda: syslog_sink(receiver.port, "tls", host="localhost", ca=certificate)


class TestSyslogUdp(AuditSinkSuite):
    """Over UDP."""

    @pytest.fixture
    def receiver(self) -> DatagramReceiver:
        return DatagramReceiver()

    @pytest.fixture
    def make(self, receiver: DatagramReceiver) -> Callable[[], AuditSink]:
        return lambda: syslog_sink(receiver.port, "udp")


class TestFile(AuditSinkSuite):
    """Into a file."""

    @pytest.fixture
    def receiver(self, tmp_path: Path) -> FolderReceiver:
        return FolderReceiver(tmp_path / "logs")

    @pytest.fixture
    def make(self, receiver: FolderReceiver) -> Callable[[], AuditSink]:
        return lambda: file.FileSink(file.Settings(path=receiver.path))


def syslog_sink(port: int, transport: str, **more: Any) -> syslog.SyslogSink:
    settings = {"host": "127.0.0.1", "port": port, "transport": transport, "hostname": "here", **more}
    return syslog.SyslogSink(syslog.Settings.model_validate(settings))


# --- https ---


class Vault:
    """One secret that may change."""

    def __init__(self) -> None:
        self.secret: str | None = None
        self.watched = 0

    def value(self, name: str) -> Hidden:
        if self.secret is None:
            raise NotConfigured(f"there is no secret {name!r}")
        return Hidden(self.secret)

    def watch(self, name: str, changed: Callable[[], None]) -> Stop:
        del name, changed
        self.watched += 1

        def stop() -> None:
            self.watched -= 1

        return stop


def http_sink(receiver: HttpReceiver, **more: Any) -> https.HttpsSink:
    return https.HttpsSink(https.Settings.model_validate({"url": f"http://127.0.0.1:{receiver.port}/in?a=b", **more}))


@pytest.fixture
async def web() -> Any:
    receiver = HttpReceiver()
    await receiver.up()
    yield receiver
    await receiver.down()


async def test_a_batch_is_one_post_with_the_token(web: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIEM_TOKEN", "t0ken")
    sink = http_sink(web, token="env:SIEM_TOKEN", headers={"x-team": "blue"})
    await sink.open(NoSecrets())
    await sink.send(LINES[:3])
    await sink.close()
    ((path, headers),) = web.requests
    assert path == "/in?a=b"
    assert headers["authorization"] == "Bearer t0ken"
    assert headers["content-type"] == "application/x-ndjson"
    assert headers["x-team"] == "blue"


async def test_a_secret_of_the_database_is_used_as_it_is_now(web: HttpReceiver) -> None:
    vault, sink = Vault(), http_sink(web, token="secret:siem")
    await sink.open(vault)
    with pytest.raises(Unavailable, match="there is no secret"):
        await sink.send(LINES[:1])
    for secret in ("one", "two"):
        vault.secret = secret
        await sink.send(LINES[:1])
    assert [headers["authorization"] for _, headers in web.requests] == ["Bearer one", "Bearer two"]
    await sink.close()
    assert vault.watched == 0


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_a_siem_finds_wrong_with_events_is_for_good(web: HttpReceiver, status: int) -> None:
    web.answers = [(status, {})]
    sink = http_sink(web)
    await sink.open(NoSecrets())
    with pytest.raises(Invalid, match=str(status)):
        await sink.send(LINES[:1])
    await sink.close()


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 503])
async def test_anything_else_that_a_siem_answers_passes(web: HttpReceiver, status: int) -> None:
    web.answers = [(status, {"retry-after": "7", "location": "http://127.0.0.1:1/"})]
    sink = http_sink(web)
    await sink.open(NoSecrets())
    with pytest.raises(Unavailable, match=str(status)) as failure:
        await sink.send(LINES[:1])
    assert failure.value.retry_after == 7
    await sink.send(LINES[:1])
    await sink.close()


async def test_a_siem_that_does_not_answer_is_given_up() -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sink = https.HttpsSink(https.Settings(url=f"http://127.0.0.1:{port}", timeout_seconds=0.05))
    await sink.open(NoSecrets())
    with pytest.raises(Unavailable, match="in time"):
        await sink.send(LINES[:1])
    await asyncio.wait_for(ended.wait(), 20)
    await sink.close()
    server.close()


async def test_a_server_that_nobody_vouches_for_gets_nothing(certificate: Path) -> None:
    receiver = HttpReceiver(certificate)
    await receiver.up()
    sink = https.HttpsSink(https.Settings(url=f"https://localhost:{receiver.port}/"))
    await sink.open(NoSecrets())
    with pytest.raises(Unavailable):
        await sink.send(LINES[:1])
    assert receiver.requests == []
    await sink.close()
    await receiver.down()


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "/in", "https://u:p@h/", "http://h/\n", "http://h/a b", "x"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        https.Settings(url=url)


async def test_what_no_waiting_will_mend_is_told_at_the_start(tmp_path: Path) -> None:
    wrong = (
        https.HttpsSink(https.Settings.model_validate({"url": "https://h/", "token": "env:NOT_THERE"})),
        https.HttpsSink(https.Settings(url="https://h/", ca=tmp_path / "none.pem")),
        syslog_sink(1, "tls", ca=tmp_path / "none.pem"),
    )
    for sink in wrong:
        with pytest.raises(SettingsError):
            await sink.open(NoSecrets())


def test_tokens_are_never_shown() -> None:
    settings = https.Settings.model_validate({"url": "https://h/", "token": "hunter2", "headers": {"x": "hunter2"}})
    assert "hunter2" not in repr(settings) + settings.model_dump_json()


# --- syslog ---


async def test_a_message_is_as_rfc_5424_asks() -> None:
    receiver = SyslogReceiver()
    await receiver.up()
    sink = syslog_sink(receiver.port, "tcp")
    await sink.open(NoSecrets())
    await sink.send(LINES[:2])
    await arrived(receiver, LINES[:2])
    assert parsed(receiver.frames[0])[:3] == (b"2026-01-31T12:00:00.000000+00:00", b"here", b"key.created")
    await sink.close()
    await receiver.down()


async def test_what_an_event_says_cannot_change_the_header_of_its_message() -> None:
    receiver = SyslogReceiver()
    await receiver.up()
    sink = syslog_sink(receiver.port, "tcp")
    await sink.open(NoSecrets())
    odd = json.dumps({"time": "", "action": "a b\n<1>é" + "x" * 50}).encode()
    await sink.send([odd])
    await arrived(receiver, [odd])
    assert parsed(receiver.frames[0])[:3] == (b"-", b"here", b"ab<1>" + b"x" * 27)
    await sink.close()
    await receiver.down()


async def test_a_server_that_takes_nothing_is_given_up_and_nothing_counts_as_sent() -> None:
    """It accepts the connection and does not read: what lies in buffers was not taken."""
    held: list[asyncio.StreamWriter] = []

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue] - transports of sockets have it
        held.append(writer)

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    sink = syslog_sink(server.sockets[0].getsockname()[1], "tcp", timeout_seconds=0.5)
    await sink.open(NoSecrets())
    with pytest.raises(Unavailable, match="in time"):
        await sink.send([LINES[0] + b" " * 30_000_000])
    await sink.close()
    for writer in held:
        writer.transport.abort()
    server.close()


async def test_a_message_that_no_datagram_carries_is_refused_for_good() -> None:
    receiver = DatagramReceiver()
    await receiver.up()
    sink = syslog_sink(receiver.port, "udp")
    await sink.open(NoSecrets())
    with pytest.raises(Invalid, match="datagram"):
        await sink.send([LINES[0] + b" " * 66_000])
    await sink.send(LINES[:1])
    await arrived(receiver, LINES[:1])
    await sink.close()
    await receiver.down()


async def test_a_syslog_server_under_a_foreign_certificate_gets_nothing(certificate: Path) -> None:
    receiver = SyslogReceiver(certificate)
    await receiver.up()
    sink = syslog_sink(receiver.port, "tls", host="localhost")
    await sink.open(NoSecrets())
    with pytest.raises(Unavailable):
        await sink.send(LINES[:1])
    assert receiver.frames == []
    await sink.close()
    await receiver.down()


# --- file ---


def file_sink(path: Path, **more: Any) -> file.FileSink:
    return file.FileSink(file.Settings.model_validate({"path": path, **more}))


def all_lines(folder: Path) -> list[bytes]:
    """Of all files, oldest first."""
    names = sorted(folder.iterdir(), key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 1)
    return [line for path in names for line in path.read_bytes().splitlines()]


async def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    sink = file_sink(tmp_path / "audit.jsonl", max_bytes=3 * len(LINES[0]) + 10, keep=3)
    for number in range(30):
        await sink.send(LINES[number : number + 1])
    assert sorted(os.listdir(tmp_path)) == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.3"]
    kept = all_lines(tmp_path)
    assert kept == LINES[30 - len(kept) : 30]
    assert 9 <= len(kept) <= 12


async def test_only_its_owner_may_read_a_file(tmp_path: Path) -> None:
    await file_sink(tmp_path / "audit.jsonl").send(LINES[:1])
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


async def test_half_a_line_that_a_crash_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(LINES[0] + b"\n" + LINES[1][:20] + b"x" * 200_000)
    await file_sink(path).send(LINES[1:2])
    assert path.read_bytes() == LINES[0] + b"\n" + LINES[1] + b"\n"
    path.write_bytes(b"x" * 10)
    await file_sink(path).send(LINES[1:2])
    assert path.read_bytes() == LINES[1] + b"\n"


async def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "audit.jsonl", os.write
    sink = file_sink(path)
    await sink.send(LINES[:1])
    room = [100]

    def scarce(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        room[0] -= (taken := min(room[0], len(data)))
        return write(descriptor, data[:taken])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", scarce)
        with pytest.raises(Unavailable, match="No space left"):
            await sink.send(LINES[1:3])
    assert path.read_bytes() == LINES[0] + b"\n"
    await sink.send(LINES[1:3])
    assert path.read_bytes().splitlines() == LINES[:3]


async def test_a_file_that_others_put_aside_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = file_sink(path)
    await sink.send(LINES[:1])
    path.rename(tmp_path / "rotated")
    await sink.send(LINES[1:2])
    assert path.read_bytes() == LINES[1] + b"\n"
