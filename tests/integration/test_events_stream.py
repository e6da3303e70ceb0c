"""The stream of events of a running installation: other workers, restarts, limits, and the command that follows it."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.clients import RawCall, Response, request_bytes
from tests.support.databases import created
from tests.support.server import Polyforge, stopping
from tests.support.waiting import DEADLINE, eventually

STREAM = "/api/v1/events"
SUBSCRIBERS = 6
MOST = 10


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    """An installation of two workers without models."""
    settings = {"events": {"max_subscribers": MOST}}
    with stopping(Polyforge(tmp_path_factory.mktemp("events"), settings, workers=2)) as server:
        yield server


def set_flag(server: Polyforge, name: str) -> Response:
    return server.api("PUT", f"/flags/{name}", {"enabled": True})


def subscribe(server: Polyforge, query: str = "", **headers: str) -> RawCall:
    """A stream whose head has come."""
    request = request_bytes("GET", STREAM + query, key=server.admin_key, headers=headers)
    stream = RawCall(server.url, request, timeout=DEADLINE)
    stream.read_head()
    return stream


def flags_set(response: Response) -> list[str]:
    """Not the other events of the stream: a starting gateway tells of its configuration whenever it comes to it."""
    return [event["resource_id"] for event in response.chunks if event["kind"].startswith("flag.")]


def test_every_subscriber_of_every_worker_sees_what_any_worker_did(site: Polyforge) -> None:
    with contextlib.ExitStack() as open_:
        streams = [open_.enter_context(subscribe(site, "?stream=settings")) for _ in range(SUBSCRIBERS)]
        assert all(stream.response.status == 200 for stream in streams)
        assert streams[0].response.headers["content-type"] == "text/event-stream; charset=utf-8"
        wanted = [f"seen-{number}" for number in range(8)]
        for name in wanted:
            assert set_flag(site, name).status == 200
        for stream in streams:
            read = stream.read_until(lambda response: len(flags_set(response)) >= len(wanted))
            assert flags_set(read) == wanted
    eventually(lambda: len(workers_of(site)) == 2, "streams in both workers")


def workers_of(server: Polyforge) -> set[str]:
    """The workers that had streams which are over."""
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith('{"event":"request"')]
    return {line["process"] for line in lines if line["path"] == STREAM}


def test_too_many_streams_are_refused_and_room_is_given_back(site: Polyforge) -> None:
    with contextlib.ExitStack() as open_:
        refused: Response | None = None
        for _ in range(2 * MOST + 1):
            stream = open_.enter_context(subscribe(site))
            if stream.response.status != 200:
                refused = stream.read_all()
                break
        assert refused is not None
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    eventually(lambda: all(_can_subscribe(site) for _ in range(4)), "room")


def _can_subscribe(server: Polyforge) -> bool:
    with subscribe(server) as stream:
        return stream.response.status == 200


def test_a_stream_ends_with_its_key(site: Polyforge) -> None:
    key = site.create_key(scopes=["events:read"])
    request = request_bytes("GET", STREAM, key=key.key)
    with RawCall(site.url, request) as stream:
        assert stream.read_head().status == 200
        site.api("DELETE", f"/keys/{key.id}")
        assert stream.read_all().complete
    eventually(lambda: site.call(STREAM, method="GET", key=key.key).status == 401, "the end of the key everywhere")


class Follower:
    """Follows the stream as a browser does: goes on from the last id whenever the connection ends."""

    def __init__(self, server: Polyforge) -> None:
        self.sequences: list[int] = []
        self.connections = 0
        self._server = server
        self._last = ""
        self._socket: socket.socket | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower")

    def __enter__(self) -> "Follower":
        self._thread.start()
        eventually(lambda: self.connections, "the first connection")
        return self

    def __exit__(self, *failure: object) -> None:
        self._stopped.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._follow()
            self._stopped.wait(0.1)

    def _follow(self) -> None:
        parts = urlsplit(self._server.url)
        assert parts.hostname
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=2 * DEADLINE)
        headers = {"authorization": f"Bearer {self._server.admin_key}", "last-event-id": self._last}
        with contextlib.closing(connection):
            connection.request("GET", STREAM + "?after=0", headers=headers)
            self._socket = connection.sock
            response = connection.getresponse()
            self.connections += response.status == 200
            while response.status == 200 and (line := response.readline()):
                self._read(line.decode())

    def _read(self, line: str) -> None:
        if line.startswith("id: "):
            self._last = line[4:].strip()
        elif line.startswith("data: "):
            self.sequences.append(json.loads(line[6:])["sequence"])


class Writer:
    """Sets flags until it is stopped, whatever becomes of each call."""

    def __init__(self, server: Polyforge) -> None:
        self.done = 0
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stopped.is_set():
                return
            with contextlib.suppress(OSError):
                self.done += set_flag(self._server, f"written-{number % 50}").status == 200
            self._stopped.wait(0.02)


def test_nothing_is_lost_or_doubled_over_restarts_while_events_are_written(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as around:
        url = None
        if kind == "postgresql":
            url = around.enter_context(created(request.getfixturevalue("postgres"), "streams")).url
        server = around.enter_context(stopping(Polyforge(tmp_path, {}, workers=2, database_url=url)))
        with Follower(server) as follower:
            with Writer(server) as writer:
                for _ in range(2):
                    before = writer.done
                    eventually(lambda before=before: writer.done >= before + 20, "events to be written")
                    server.restart()
            newest = server.api("GET", "/events/recent?limit=1").json["data"][0]["sequence"]
            eventually(lambda: follower.sequences[-1:] == [newest], "the last event")
        with Follower(server) as again:
            eventually(lambda: again.sequences[-1:] == [newest], "the last event")
        assert again.sequences == list(range(1, newest + 1))
        assert follower.sequences == again.sequences
        assert follower.connections > 2


def test_the_command_follows_and_goes_on_where_the_stream_ended(site: Polyforge, tmp_path: Path) -> None:
    key = site.create_key(scopes=["events:read", "settings:read"])
    set_flag(site, "before")
    environ = {**os.environ, "POLYFORGE_API_KEY": key.key, "POLYFORGE_URL": site.url, "PYTHONUNBUFFERED": "1"}
    output = tmp_path / "events.jsonl"
    with output.open("wb") as out:
        arguments = ["events", "--follow", "--json", "--stream", "settings", "--limit", "1"]
        command = subprocess.Popen([sys.executable, "-m", "polyforge", *arguments], env=environ, stdout=out)
    try:
        told: list[dict[str, Any]] = []

        def followed(name: str) -> bool:
            told[:] = [json.loads(line) for line in output.read_text().splitlines()]
            return any(event["resource_id"] == name for event in told)

        eventually(lambda: followed("before"), "what was before")
        set_flag(site, "while")
        eventually(lambda: followed("while"), "what happened meanwhile")
        site.api("PATCH", f"/keys/{key.id}", {"name": "changed, which ends its streams"})
        for number in range(5):
            set_flag(site, f"after-{number}")
        eventually(lambda: followed("after-4"), "what happened after the stream had ended")
        assert [event["resource_id"] for event in told] == ["before", "while", *(f"after-{n}" for n in range(5))]
    finally:
        command.send_signal(signal.SIGINT)
        assert command.wait(DEADLINE) == 0
