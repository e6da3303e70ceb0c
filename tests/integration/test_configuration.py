"""Declared models taken again by a running installation: by file, by signal, back again, by other machines."""

import asyncio
import base64
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer, Gate
from tests.support.clients import RawCall, Response, call_async, chat, request_bytes
from tests.support.databases import created
from tests.support.postgres import Postgres
from tests.support.server import Key, Polyforge, stopping
from tests.support.settings import solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually, eventually_async

CHAT = "/v1/chat/completions"
LAB_KEY = "lab-key-in-the-environment-12345"
WRITTEN_OUT = "a-secret-that-is-written-out-67890"
RELOADS = 20
IN_FORCE = "what is declared is in force"


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    """A provider that takes any key."""
    server = Upstream().start()
    yield server
    server.stop()


class Site:
    """An installation of two workers, and what stands in its file."""

    server: Polyforge

    def __init__(self, provider: Upstream) -> None:
        self.provider = provider

    def sections(self, *models: str, **changes: Any) -> dict[str, Any]:
        """The settings with these models, each with one deployment at `lab`."""
        lab = {"use": "openai", "base_url": self.provider.url, "api_key": "env:LAB_KEY", **changes.pop("lab", {})}
        declared = {name: model for one in models for name, model in solo(one).items()}
        return {"providers": {"lab": lab}, "models": declared, **changes}

    def newest(self) -> dict[str, Any]:
        """The latest version, as the API shows it."""
        return self.server.api("GET", "/configurations?limit=1").json["data"][0]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines that say so."""
        found = [json.loads(line) for line in self.server.log.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("event") == event]

    def runs(self, version: int, workers: int = 2) -> None:
        """Wait until every worker runs a version."""
        eventually(
            lambda: (
                len({line["process"] for line in self.lines(IN_FORCE) if line.get("version", 0) >= version}) == workers
            ),
            f"version {version} in every worker\n{self.server.tail()}",
        )

    def take(self, settings: dict[str, Any]) -> int:
        """Write the file and wait until every worker runs it; the version that it became."""
        before = self.newest()["version"]
        self.server.declare(settings)
        newest = eventually(lambda: (found := self.newest())["version"] > before and found, "a new version")
        assert newest["accepted"], newest
        self.runs(newest["version"])
        return newest["version"]

    def refused(self) -> dict[str, Any]:
        """The newest version once it is one that was refused."""
        return eventually(lambda: None if (newest := self.newest())["accepted"] else newest, "the refusal") or {}

    def ask(self, key: Key, model: str) -> Response:
        return self.server.call(CHAT, key=key.key, json=chat(model))

    def statuses(self, key: Key, model: str, calls: int = 12) -> set[int]:
        """What calls get; enough of them that every worker answers some."""
        return {self.ask(key, model).status for _ in range(calls)}


@pytest.fixture(scope="module")
def site(serve: Serve, provider: Upstream) -> Site:
    made = Site(provider)
    made.server = serve(made.sections("steady", "first"), workers=2, environ={"LAB_KEY": LAB_KEY})
    return made


@pytest.fixture
def key(site: Site) -> Key:
    return site.server.create_key(scopes=["inference", "models:read"])


def test_a_change_of_the_file_reaches_every_worker_and_is_a_version(site: Site, key: Key) -> None:
    (first,) = site.server.api("GET", "/configurations").json["data"][-1:]
    assert (first["version"], first["source"], first["active"], first["created_by"]) == (1, "file", True, "0" * 26)
    version = site.take(site.sections("steady", "second"))
    assert site.statuses(key, "second") == {200}
    assert site.statuses(key, "first") == {404}
    listed = site.server.call("/v1/models", method="GET", key=key.key).json
    assert {model["id"] for model in listed["data"]} >= {"steady", "second"}
    page = site.server.api("GET", "/configurations").json
    assert [each["version"] for each in page["data"]] == list(range(version, 0, -1))
    assert page["running"] == version
    shown = site.server.api("GET", f"/configurations/{version}").json
    assert sorted(shown["models"]) == ["second", "steady"]
    assert shown["providers"]["lab"]["api_key"] == "env:LAB_KEY"
    assert (shown["active"], shown["restorable"], shown["needs_restart"]) == (True, True, [])


def test_a_new_model_has_series_of_its_own(site: Site, key: Key) -> None:
    site.take(site.sections("steady", "measured"))
    assert site.statuses(key, "measured", 3) == {200}
    page = site.server.call("/metrics", method="GET").body.decode()
    assert 'polyforge_requests_total{model="measured",provider="lab",task="chat",status="200",error=""} 3' in page


def test_sighup_takes_the_file_and_what_it_refers_to(site: Site, key: Key, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("key-one-1234567890")
    version = site.take(site.sections("steady", "signalled", lab={"api_key": f"file:{secret}"}))
    assert site.statuses(key, "signalled", 2) == {200}
    secret.write_text("key-two-1234567890")
    seen = len(site.lines(IN_FORCE))
    os.kill(site.server.pid, signal.SIGHUP)
    eventually(lambda: len(site.lines(IN_FORCE)) == seen + 2, "both workers to build everything anew")
    assert site.statuses(key, "signalled") == {200}
    keys = [each.headers["authorization"] for each in site.provider.requests("signalled")]
    assert keys == ["Bearer key-one-1234567890"] * 2 + ["Bearer key-two-1234567890"] * 12
    assert site.newest()["version"] == version


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: [", "is not YAML: line 1, column 10"),
        ("models: {a: {deployments: [{provider: nowhere}]}}", "no provider 'nowhere'"),
        ("providers: {lab: {use: openai, base_url: nonsense}}", "providers.lab.base_url"),
        ("providers: {lab: {use: openai, api_key: 'env:NOT_SET_ANYWHERE'}}", "NOT_SET_ANYWHERE is not set"),
        ("events: {keep_days: -1}", "events.keep_days"),
        (f"providers: {{lab: '{WRITTEN_OUT}' nonsense", "is not YAML"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing_and_says_why(site: Site, key: Key, text: str, reason: str) -> None:
    version = site.take(site.sections("steady", f"before-{secrets.token_hex(4)}"))
    before = site.server.api("GET", "/events/recent?limit=1").json["data"][0]["sequence"]
    site.server.config.write_text(text)
    refused = site.refused()
    assert reason in refused["reason"]
    assert WRITTEN_OUT not in json.dumps(refused)
    assert (refused["active"], refused["restorable"]) == (False, False)
    assert site.statuses(key, "steady") == {200}
    assert site.server.api("GET", "/configurations").json["running"] == version
    told = site.server.api("GET", "/events/recent?stream=settings").json["data"]
    new = [event["kind"] for event in told if event["sequence"] > before]
    assert new == ["configuration.refused"]
    answer = site.server.api("POST", f"/configurations/{refused['version']}/rollback")
    assert (answer.status, "was refused" in answer.json["detail"]) == (409, True)
    refusals = "the settings file is refused; what was declared before stays in force"
    eventually(lambda: any(reason in line["reason"] for line in site.lines(refusals)), "the reason in the log")


def test_what_needs_a_restart_is_named_and_the_rest_is_taken(site: Site, key: Key) -> None:
    settings = site.sections("steady", "beside", gateway={"attempts": 2}, events={"keep_days": 3})
    settings["models"]["mine"] = {"task": "embedding", "source": "file:///models/mine"}
    version = site.take(settings)
    waiting = ["events.keep_days", "gateway.attempts", "models.mine.source"]
    assert sorted(site.newest()["needs_restart"]) == waiting
    assert site.statuses(key, "beside", 2) == {200}
    assert site.statuses(key, "mine", 2) == {404}
    warned = site.lines("settings have changed that need a restart")
    assert sorted(warned[-1]["settings"]) == waiting
    assert site.take(site.sections("steady")) == version + 1
    assert site.newest()["needs_restart"] == []


def test_a_rollback_holds_in_every_worker_and_after_a_restart(site: Site, key: Key) -> None:
    earlier = site.take(site.sections("steady", "earlier"))
    later = site.take(site.sections("steady", "later"))
    answer = site.server.api("POST", f"/configurations/{earlier}/rollback")
    assert answer.status == 201
    assert (answer.json["version"], answer.json["source"], answer.json["of_version"]) == (
        later + 1,
        "rollback",
        earlier,
    )
    site.runs(later + 1)
    assert site.statuses(key, "earlier") == {200}
    assert site.statuses(key, "later") == {404}
    site.server.restart()
    assert site.statuses(key, "earlier") == {200}
    assert site.statuses(key, "later") == {404}
    assert site.newest()["version"] == later + 1
    assert site.take(site.sections("steady", "latest")) == later + 2
    assert site.statuses(key, "latest") == {200}


def test_a_secret_that_is_written_out_is_not_kept_and_stands_in_the_way_back(site: Site, key: Key) -> None:
    open_ = site.sections("steady", "open", lab={"api_key": WRITTEN_OUT, "headers": {"x-api-key": WRITTEN_OUT}})
    version = site.take(open_)
    assert site.statuses(key, "open") == {200}
    assert site.provider.requests("open")[0].headers["authorization"] == f"Bearer {WRITTEN_OUT}"
    shown = site.server.api("GET", f"/configurations/{version}")
    assert (
        shown.json["providers"]["lab"]["api_key"] == shown.json["providers"]["lab"]["headers"]["x-api-key"] == "*" * 8
    )
    assert shown.json["restorable"] is False
    site.take(site.sections("steady"))
    answer = site.server.api("POST", f"/configurations/{version}/rollback")
    assert answer.status == 409
    assert "written out in the file" in answer.json["detail"]
    assert WRITTEN_OUT.encode() not in shown.body + answer.body
    database = b"".join(path.read_bytes() for path in site.server.data.glob("polyforge.db*"))
    assert WRITTEN_OUT.encode() not in database
    assert WRITTEN_OUT not in site.server.log


def test_configurations_are_for_those_who_may_see_settings(site: Site, key: Key) -> None:
    for method, path in (("GET", ""), ("GET", "/1"), ("POST", "/1/rollback")):
        answer = site.server.call(f"/api/v1/configurations{path}", method=method, key=key.key)
        assert answer.status == 403
    for path, status in (("/999999", 404), ("/0", 400), ("/x", 400), ("/999999/rollback", 404)):
        method = "POST" if "rollback" in path else "GET"
        assert site.server.api(method, f"/configurations{path}").status == status


def test_a_stream_that_runs_is_finished_on_what_it_began_with(site: Site, key: Key) -> None:
    gate = Gate()
    site.provider.script("removed", Answer("one two three four", pauses={2: gate}))
    site.take(site.sections("steady", "removed"))
    request = request_bytes("POST", CHAT, key=key.key, json=chat("removed", stream=True))
    with RawCall(site.server.url, request) as stream:
        stream.read_until(lambda response: response.text.startswith("one two"))
        site.take(site.sections("steady"))
        assert site.statuses(key, "removed") == {404}
        gate.open()
        answer = stream.read_all()
    assert (answer.text, answer.finished, answer.complete) == ("one two three four", True, True)


async def test_no_request_fails_while_everything_is_built_anew_again_and_again(site: Site, key: Key) -> None:
    stop = False
    answers: list[Response] = []

    async def caller(stream: bool) -> None:
        while not stop:
            body = chat("steady", stream=stream)
            answers.append(await call_async(site.server.url, CHAT, key=key.key, json=body))

    callers = [asyncio.create_task(caller(number % 2 == 0)) for number in range(6)]
    for number in range(RELOADS):
        seen = len(site.lines(IN_FORCE))
        if number % 4:
            site.server.declare(site.sections("steady", f"model-{number}", lab={"max_connections": 100 + number}))
            await eventually_async(lambda seen=seen: len(site.lines(IN_FORCE)) >= seen + 2, f"reload {number}")
        else:
            os.kill(site.server.pid, signal.SIGHUP)
            await eventually_async(lambda seen=seen: len(site.lines(IN_FORCE)) >= seen + 2, f"reload {number}")
    stop = True
    await asyncio.gather(*callers)
    failed = [(answer.status, answer.failure, answer.body[:200]) for answer in answers if answer.status != 200]
    assert not failed
    assert all(answer.complete for answer in answers)
    assert len(answers) > RELOADS


def test_a_worker_that_is_killed_while_the_file_is_wrong_comes_back(site: Site, key: Key) -> None:
    site.take(site.sections("steady", f"before-{secrets.token_hex(4)}"))
    site.server.config.write_text("models: [")
    site.refused()
    killed = site.server.kill("gateway")
    eventually(lambda: len(pids := site.server.pids("gateway")) == 2 and killed not in pids, "another worker")
    eventually(lambda: site.lines("the settings file cannot be used; what it last said is in force"), "its complaint")
    eventually(lambda: site.statuses(key, "steady") == {200}, "the new worker to serve")
    site.take(site.sections("steady"))


@pytest.fixture
def machines(postgres: Postgres, tmp_path: Path, provider: Upstream) -> Iterator[tuple[Site, Site]]:
    """Two machines on one database."""
    master = base64.b64encode(os.urandom(32)).decode()
    environ = {"LAB_KEY": LAB_KEY, "POLYFORGE_SECRETS__MASTER_KEY": master}
    with created(postgres, "machines") as database:
        sites: list[Site] = []
        for name in ("a", "b"):
            made = Site(provider)
            settings = made.sections("steady")
            made.server = Polyforge(tmp_path / name, settings, database_url=database.url, environ=environ)
            sites.append(made)
        sites[1].server.admin_key = sites[0].server.admin_key
        with stopping(sites[0].server), stopping(sites[1].server):
            yield sites[0], sites[1]


def test_what_one_machine_takes_reaches_the_other(machines: tuple[Site, Site]) -> None:
    here, there = machines
    key = here.server.create_key(scopes=["inference"])
    assert here.newest()["version"] == 1
    here.server.declare(here.sections("steady", "shared"))
    there.runs(2, workers=1)
    assert there.ask(key, "shared").status == 200
    here.server.declare(here.sections("steady", "open", lab={"api_key": WRITTEN_OUT}))
    eventually(lambda: there.lines("a version does not work on this machine; what was declared before stays in force"))
    assert there.ask(key, "shared").status == 200
    told = eventually(
        lambda: [
            event
            for event in there.server.api("GET", "/events/recent?stream=settings").json["data"]
            if event["kind"] == "configuration.refused"
        ],
        "the event",
    )
    assert "written out in the file" in told[0]["data"]["reason"]
    there.server.declare(here.sections("steady", "open", lab={"api_key": WRITTEN_OUT}))
    there.runs(3, workers=1)
    assert there.ask(key, "open").status == 200
    assert here.newest()["version"] == 3
    assert WRITTEN_OUT not in there.server.log


def test_a_machine_that_comes_back_with_an_old_file_takes_what_is_in_force(machines: tuple[Site, Site]) -> None:
    here, there = machines
    key = here.server.create_key(scopes=["inference"])
    there.server.stop()
    here.server.declare(here.sections("steady", "newer"))
    eventually(lambda: here.newest()["version"] == 2, "a new version")
    there.server.start(written_at=time.time() - 3600)
    assert there.ask(key, "newer").status == 200
    assert there.newest()["version"] == 2
