"""Every sink of the log of requests against the suite of its port, and what each does beside."""

import asyncio
import http.server
import json
import re
import threading
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from polyforge.adapters.request_log_sinks import file, langfuse, otlp, s3
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.request_log import RequestBatch
from polyforge.kernel.usage import Usage
from polyforge.ports.request_log_sink import RequestLogSink
from tests.conformance.audit_sinks import NoSecrets
from tests.conformance.request_log_sinks import BEGUN, REQUESTS, RequestLogSinkSuite, logged
from tests.support.ports import free_port
from tests.support.vault import Secrets

ID = re.compile(rb"(?<![0-9])0{20}[0-9]{6}(?![0-9A-Z])")


class Web:
    """A web server that takes everything; `answers` are statuses and bodies for the next requests."""

    def __init__(self, status: int = 200) -> None:
        self.port = free_port()
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        self._status = status
        self._server: http.server.ThreadingHTTPServer | None = None

    def reply(self, body: bytes) -> bytes:
        """What it answers when it takes something."""
        del body
        return b""

    @property
    def ids(self) -> list[str]:
        return [found.decode() for _, _, _, body in self.requests for found in dict.fromkeys(ID.findall(body))]

    async def up(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    async def down(self) -> None:
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._server = None

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, said = web.answers.pop(0) if web.answers else (web._status, web.reply(body))
                if status < 300:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    web.requests.append((self.command, self.path, headers, body))
                self.send_response(status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_PUT = do_POST

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                del format, args

        return Handler


class Collector(Web):
    """Understands OTLP as OpenTelemetry's own library does."""

    @property
    def records(self) -> list[LogRecord]:
        read = [ExportLogsServiceRequest.FromString(body) for _, _, _, body in self.requests]
        return [record for each in read for record in each.resource_logs[0].scope_logs[0].log_records]

    @property
    def ids(self) -> list[str]:
        return [str(facts_of(record)["polyforge.request.id"]) for record in self.records]


def facts_of(record: LogRecord) -> dict[str, object]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in record.attributes}


class LangfuseServer(Web):
    """Tells of each event that it has it."""

    def __init__(self) -> None:
        super().__init__(207)

    def reply(self, body: bytes) -> bytes:
        events = json.loads(body)["batch"]
        return json.dumps({"successes": [{"id": each["id"], "status": 201} for each in events], "errors": []}).encode()

    @property
    def ids(self) -> list[str]:
        batches = [json.loads(body)["batch"] for _, _, _, body in self.requests]
        return [each["body"]["id"] for batch in batches for each in batch if each["type"] == "trace-create"]


class Folder:
    """A folder that is there or not."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "requests.jsonl"
        self._away = folder.with_name("away")

    @property
    def ids(self) -> list[str]:
        return [json.loads(line)["id"] for line in self.path.read_bytes().splitlines()]

    async def up(self) -> None:
        if self._away.exists():
            self._away.rename(self.path.parent)
        else:
            self.path.parent.mkdir()

    async def down(self) -> None:
        self.path.parent.rename(self._away)


def otlp_sink(web: Web, **more: Any) -> otlp.OtlpSink:
    return otlp.OtlpSink(otlp.Settings.model_validate({"endpoint": f"http://127.0.0.1:{web.port}", **more}))


def langfuse_sink(web: Web, **more: Any) -> langfuse.LangfuseSink:
    settings = {"base_url": f"http://127.0.0.1:{web.port}", "public_key": "pk", "secret_key": "sk", **more}
    return langfuse.LangfuseSink(langfuse.Settings.model_validate(settings))


def s3_sink(web: Web, **more: Any) -> s3.S3Sink:
    settings = {"endpoint": f"http://127.0.0.1:{web.port}", "region": "eu-central-1", "bucket": "logs"}
    keys = {"access_key_id": "AKID", "secret_access_key": "hush"}
    return s3.S3Sink(s3.Settings.model_validate({**settings, **keys, **more}))


class TestOtlp(RequestLogSinkSuite):
    """A collector."""

    @pytest.fixture
    def receiver(self) -> Collector:
        return Collector()

    @pytest.fixture
    def make(self, receiver: Collector) -> Callable[[], RequestLogSink]:
        return lambda: otlp_sink(receiver)


class TestLangfuse(RequestLogSinkSuite):
    """Langfuse."""

    @pytest.fixture
    def receiver(self) -> LangfuseServer:
        return LangfuseServer()

    @pytest.fixture
    def make(self, receiver: LangfuseServer) -> Callable[[], RequestLogSink]:
        return lambda: langfuse_sink(receiver)


class TestS3(RequestLogSinkSuite):
    """A bucket."""

    @pytest.fixture
    def receiver(self) -> Web:
        return Web()

    @pytest.fixture
    def make(self, receiver: Web) -> Callable[[], RequestLogSink]:
        return lambda: s3_sink(receiver)


class TestFile(RequestLogSinkSuite):
    """A file."""

    @pytest.fixture
    def receiver(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path / "logs")

    @pytest.fixture
    def make(self, receiver: Folder) -> Callable[[], RequestLogSink]:
        return lambda: file.FileSink(file.Settings(path=receiver.path))

    async def test_a_sink_that_was_closed_can_be_opened_again(self, receiver: Folder, sink: RequestLogSink) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A file is never open between batches."""
        await receiver.up()
        await sink.close()
        await sink.send(RequestBatch(1, REQUESTS[:1]))
        assert receiver.ids == [REQUESTS[0].id]


@pytest.fixture
async def web() -> Any:
    receiver = Web()
    await receiver.up()
    yield receiver
    await receiver.down()


@pytest.mark.parametrize("make", [otlp_sink, langfuse_sink, s3_sink])
@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_what_waiting_or_an_operator_can_mend_is_sent_again(
    web: Web, make: Callable[[Web], RequestLogSink], status: int
) -> None:
    web.answers = [(status, b"secret")]
    sink = make(web)
    await sink.open(NoSecrets())
    with pytest.raises(Unavailable, match=f"^the sink answered {status}$"):
        await sink.send(RequestBatch(1, REQUESTS[:1]))
    await sink.close()


@pytest.mark.parametrize(
    ("make", "credentials"),
    [
        (lambda web: otlp_sink(web, headers={"authorization": "secret:logs"}), ("one", "two")),
        (lambda web: langfuse_sink(web, secret_key="secret:logs"), ("Basic cGs6b25l", "Basic cGs6dHdv")),
    ],
    ids=["otlp", "langfuse"],
)
async def test_a_secret_of_the_database_is_used_as_it_is_now(
    web: Web, make: Callable[[Web], RequestLogSink], credentials: tuple[str, str]
) -> None:
    sink, secrets = make(web), Secrets()
    await sink.open(secrets)
    with pytest.raises(Unavailable, match="there is no secret"):
        await sink.send(RequestBatch(1, REQUESTS[:1]))
    for secret in ("one", "two"):
        secrets.put("logs", secret)
        web.answers = [(200, b'{"errors":[]}')]
        await sink.send(RequestBatch(1, REQUESTS[:1]))
    assert tuple(headers["authorization"] for _, _, headers, _ in web.requests) == credentials
    await sink.close()
    assert secrets.watchers == []


async def test_a_collector_gets_the_names_of_the_conventions() -> None:
    collector = Collector()
    await collector.up()
    sink = otlp_sink(collector)
    await sink.open(NoSecrets())
    await sink.send(RequestBatch(1, [logged(1), logged(2, status="error", http_status=502)]))
    await sink.close()
    await collector.down()
    first, failed = collector.records
    assert first.event_name == otlp.EVENT.decode()
    assert first.time_unix_nano == round((BEGUN + 1) * 1_000) * 1_000_000
    facts = facts_of(first)
    assert (facts["gen_ai.request.model"], facts["gen_ai.response.model"]) == ("assistant-é", "gpt-4o-mini")
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (123, 40)
    assert "error.type" not in facts
    assert first.trace_id == b"\xab" * 16
    assert (facts["polyforge.hop.server_us"], facts["polyforge.hop.auth_us"]) == (12, 7)
    assert (facts["polyforge.attempts"], facts["polyforge.first_token_us"]) == (2, 250_000)
    assert [each["outcome"] for each in json.loads(str(facts["polyforge.tried"]))] == ["upstream_timeout", "ok"]
    assert (facts_of(failed)["error.type"], failed.severity_text) == ("error", "ERROR")


async def test_a_collector_may_refuse_what_a_batch_says(web: Web) -> None:
    web.answers = [(400, b"")]
    sink = otlp_sink(web)
    await sink.open(NoSecrets())
    with pytest.raises(Invalid):
        await sink.send(RequestBatch(1, REQUESTS[:1]))
    await sink.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b'{"successes": [], "errors": [{"id": "x", "status": 400}]}', Invalid),
        (b'{"errors": [{"id": "x", "status": 400}, {"id": "y", "status": 500}]}', Unavailable),
        (b'{"errors": [{"id": "x", "status": 429}]}', Unavailable),
        (b"<html>", Unavailable),
        (b'{"errors": "no"}', Unavailable),
    ],
)
async def test_langfuse_tells_of_each_event(web: Web, answer: bytes, error: type[Exception]) -> None:
    web.answers = [(207, answer)]
    sink = langfuse_sink(web)
    await sink.open(NoSecrets())
    with pytest.raises(error):
        await sink.send(RequestBatch(1, REQUESTS[:1]))
    await sink.close()


async def test_langfuse_gets_a_trace_with_a_generation_and_parts_that_add_up() -> None:
    server = LangfuseServer()
    await server.up()
    sink = langfuse_sink(server, environment="prod")
    await sink.open(NoSecrets())
    await sink.send(RequestBatch(1, [logged(1), logged(2, status="error", http_status=502, usage=Usage())]))
    await sink.close()
    await server.down()
    ((_, path, headers, body),) = server.requests
    assert path == "/api/public/ingestion"
    assert b64decode(headers["authorization"].removeprefix("Basic ")) == b"pk:sk"
    trace, generation, _, failed = (event["body"] for event in json.loads(body)["batch"])
    assert generation["traceId"] == trace["id"]
    assert (generation["model"], generation["environment"]) == ("gpt-4o-mini", "prod")
    assert (generation["startTime"], generation["endTime"]) == ("2026-01-31T12:00:01.250Z", "2026-01-31T12:00:02.750Z")
    usage = generation["usageDetails"]
    assert usage.pop("total") == sum(usage.values()) == 163
    assert generation["costDetails"] == {"total": 0.00125}
    assert generation["completionStartTime"] == "2026-01-31T12:00:01.500Z"
    assert generation["metadata"]["hops_us"] == {"server": 12, "auth": 7}
    assert len(generation["metadata"]["attempts"]) == 2
    assert trace["tags"] == ["app=chat", "team=red"]
    assert (failed["level"], failed["statusMessage"]) == ("ERROR", "error")


async def test_s3_gets_an_object_per_day_that_a_repetition_writes_over(web: Web) -> None:
    sink = s3_sink(web, prefix="a/b")
    await sink.open(NoSecrets())
    batch = RequestBatch(7, [logged(1), logged(2, started_at=BEGUN + 86_400), logged(3)])
    await sink.send(batch)
    await sink.send(batch)
    await sink.close()
    paths = [path for _, path, _, _ in web.requests]
    days = [f"/logs/a/b/2026/{day}/00000000000000000007.jsonl" for day in ("01/31", "02/01")]
    assert paths == days * 2
    assert [json.loads(line)["id"] for line in web.requests[0][3].splitlines()] == [logged(1).id, logged(3).id]


async def test_s3_objects_are_signed_as_amazons_own_library_signs_them(web: Web) -> None:
    sink = s3_sink(web, session_token="lent")
    await sink.open(NoSecrets())
    await sink.send(RequestBatch(7, REQUESTS[:1]))
    await sink.close()
    ((method, path, headers, body),) = web.requests
    signed = re.search("SignedHeaders=([^,]+)", headers["authorization"])
    assert signed is not None
    sent = {name: headers[name] for name in signed[1].split(";")}
    request = AWSRequest(method=method, url=f"http://127.0.0.1:{web.port}{path}", data=body, headers=sent)
    request.context["timestamp"] = headers["x-amz-date"]
    request.context["payload_signing_enabled"] = True
    auth = S3SigV4Auth(Credentials("AKID", "hush", "lent"), "s3", "eu-central-1")
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert headers["authorization"].endswith(f"Signature={expected}")


async def test_a_line_of_a_file_says_all_of_a_request(tmp_path: Path) -> None:
    sink = file.FileSink(file.Settings(path=tmp_path / "log"))
    await sink.send(RequestBatch(1, [logged(1)]))
    line = json.loads((tmp_path / "log").read_bytes())
    assert (line["time"], line["cost_micros"], line["price_micros"]) == ("2026-01-31T12:00:01.250Z", 1_250, 2_000)
    assert line["usage"]["cache_read"] == 20
    assert line["model"] == "assistant-é"
    assert line["hops"] == [{"name": "server", "microseconds": 12}, {"name": "auth", "microseconds": 7}]
    assert [attempt["outcome"] for attempt in line["attempts"]] == ["upstream_timeout", "ok"]
    assert (line["tags"], line["trace_id"]) == (["app=chat", "team=red"], "ab" * 16)
