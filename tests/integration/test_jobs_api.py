"""Jobs over the API and the command line of a running installation with a worker."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.clients import RawCall, Response, request_bytes
from tests.support.server import ALL, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import DEADLINE, eventually

Run = Callable[..., str]
SINCE = "2020-01-01T00:00:00Z"
CALLS = 7


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream) -> Polyforge:
    server = serve(settings(upstream, solo("assistant")), roles=ALL)
    key = server.create_key()
    for _ in range(CALLS):
        asked = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}
        assert server.call("/v1/chat/completions", key=key.key, json=asked).status == 200
    server.settled(key, CALLS)
    return server


@pytest.fixture
def run(site: Polyforge) -> Run:
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": site.admin_key, "POLYFORGE_DATA": str(site.data)}

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), env=environ)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


def export(site: Polyforge, **more: Any) -> dict[str, Any]:
    made = site.api("POST", "/requests/exports", {"since": SINCE, **more})
    assert made.status == 202, made.body
    assert made.json["waiting_for"]["message"]
    return made.json


def ended(site: Polyforge, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job = site.api("GET", f"/jobs/{job_id}").json
        return job if job["state"] in ("succeeded", "failed", "cancelled") else None

    return eventually(look, f"the end of {job_id}") or {}


def content(site: Polyforge, job: dict[str, Any]) -> bytes:
    found = site.call(f"/v1/files/{job['result']['file_id']}/content", method="GET", key=site.admin_key)
    assert found.status == 200, found.body
    return found.body


@pytest.fixture
def stream(site: Polyforge) -> Iterator[Callable[[str], RawCall]]:
    """Opens streams of server-sent events, and hangs up at the end."""
    opened: list[RawCall] = []

    def start(path: str, **headers: str) -> RawCall:
        request = request_bytes("GET", f"/api/v1{path}", key=site.admin_key, headers=headers)
        call = RawCall(site.url, request, timeout=DEADLINE).__enter__()
        opened.append(call)
        call.read_head()
        assert call.response.status == 200
        return call

    yield start
    for call in opened:
        call.__exit__(None, None, None)


def test_a_job_writes_what_was_asked_for_and_says_how_far_it_is(site: Polyforge) -> None:
    made = export(site, model=["assistant"])
    assert (made["kind"], made["attempt"], made["asked_by"]["name"]) == ("requests.export", 1, "admin")
    job = ended(site, made["id"])
    assert (job["state"], job["error"], job["waiting_for"]) == ("succeeded", None, None)
    assert job["progress"] == {"done": CALLS, "total": None, "unit": "requests", "note": job["progress"]["note"]}
    rows = list(csv.DictReader(io.StringIO(content(site, job).decode())))
    listed = site.api("GET", "/requests?model=assistant").json["data"]
    assert [row["id"] for row in rows] == [each["id"] for each in listed]
    assert {row["status"] for row in rows} == {"ok"}
    (line,) = site.api("GET", f"/jobs/{job['id']}/logs").json["data"]
    assert (line["seq"], line["level"]) == (1, "info")
    assert line["text"].startswith(f"{CALLS} requests in ")


def test_a_table_for_programs_has_the_same_rows(site: Polyforge) -> None:
    job = ended(site, export(site, format="parquet", model=["assistant"])["id"])
    assert job["result"]["rows"] == CALLS
    assert content(site, job)[:4] == b"PAR1"


def test_jobs_are_listed_and_filtered(site: Polyforge) -> None:
    first, second = (ended(site, export(site)["id"]) for _ in range(2))
    page = site.api("GET", "/jobs?limit=1").json
    assert [each["id"] for each in page["data"]] == [second["id"]]
    page = site.api("GET", f"/jobs?limit=1&cursor={page['next_cursor']}").json
    assert [each["id"] for each in page["data"]] == [first["id"]]
    assert site.api("GET", "/jobs?kind=other").json["data"] == []
    assert site.api("GET", "/jobs?state=failed&state=cancelled").json["data"] == []
    found = site.api("GET", "/jobs?queue=exports&state=succeeded").json["data"]
    assert {first["id"], second["id"]} <= {each["id"] for each in found}
    assert site.api("GET", "/jobs?state=lost").status == 400


def test_what_is_over_is_not_cancelled_and_what_succeeded_is_not_repeated(site: Polyforge) -> None:
    job = ended(site, export(site)["id"])
    assert site.api("POST", f"/jobs/{job['id']}/cancel").status == 409
    assert site.api("POST", f"/jobs/{job['id']}/retry").status == 409
    assert site.api("GET", "/jobs/job_00000000000000000000000000").status == 404


def test_times_that_make_no_span_are_refused(site: Polyforge) -> None:
    refused = site.api("POST", "/requests/exports", {"since": SINCE, "until": "2019-01-01T00:00:00Z"})
    assert (refused.status, refused.json["param"]) == (400, "since")


def test_permissions_of_jobs_are_their_own(site: Polyforge) -> None:
    stranger, reader = site.create_key(scopes=["inference"]), site.create_key(scopes=["jobs:read"])
    job = ended(site, export(site)["id"])
    assert site.call(f"/api/v1/jobs/{job['id']}", method="GET", key=stranger.key).status == 403
    assert site.call(f"/api/v1/jobs/{job['id']}", method="GET", key=reader.key).status == 200
    assert site.call(f"/api/v1/jobs/{job['id']}/cancel", method="POST", key=reader.key).status == 403
    assert site.call("/api/v1/requests/exports", method="POST", key=reader.key, json={"since": SINCE}).status == 403


def test_streams_tell_what_happens_and_resume(site: Polyforge, stream: Callable[..., RawCall]) -> None:
    everything = stream("/jobs/events")
    job = ended(site, export(site)["id"])

    def states(response: Response) -> list[tuple[str, str]]:
        return [(event["resource_id"], event["kind"]) for event in response.chunks if "kind" in event]

    read = everything.read_until(lambda response: (job["id"], "job.ended") in states(response))
    seen = [state for state in states(read) if state[0] == job["id"]]
    assert [kind for _, kind in seen if kind != "job.progressed"] == ["job.queued", "job.started", "job.ended"]
    first = next(event["sequence"] for event in read.chunks if event.get("resource_id") == job["id"])
    again = stream(f"/jobs/{job['id']}/events", **{"last-event-id": str(first)})
    assert states(again.read_until(lambda response: len(states(response)) >= len(seen) - 1)) == seen[1:]


def test_a_log_is_followed_to_its_end(site: Polyforge, stream: Callable[..., RawCall]) -> None:
    job = ended(site, export(site)["id"])
    read = stream(f"/jobs/{job['id']}/logs/stream").read_until(lambda response: b"event: end" in response.body)
    assert read.body.count(b"id: 1\n") == 1
    assert b'{"state":"succeeded"}' in read.body


def test_a_schedule_is_made_changed_run_and_removed(site: Polyforge) -> None:
    body = {"kind": "requests.export", "title": "nightly", "cron": "15 0 * * *", "timezone": "Europe/Berlin"}
    made = site.api("POST", "/jobs/schedules", {**body, "args": {"days": 1, "format": "csv"}}).json
    assert (made["enabled"], made["last_job"]) == (True, None)
    assert site.api("PATCH", f"/jobs/schedules/{made['id']}", {"enabled": False}).json["next_at"] is None
    assert [each["id"] for each in site.api("GET", "/jobs/schedules").json["data"]].count(made["id"]) == 1
    job = site.api("POST", f"/jobs/schedules/{made['id']}/run")
    assert job.status == 201
    done = ended(site, job.json["id"])
    assert (done["schedule_id"], done["state"]) == (made["id"], "succeeded")
    assert site.api("DELETE", f"/jobs/schedules/{made['id']}").status == 204
    assert site.api("GET", f"/jobs/schedules/{made['id']}").status == 404
    assert site.api("GET", f"/jobs/{done['id']}").status == 200


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"kind": "something.else"}, "kind"),
        ({"cron": "every day"}, "cron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"priority": 10}, "priority"),
        ({"when": "now"}, "when"),
        ({"args": {}}, "args"),
        ({"args": {"days": 1, "format": "xls"}}, "args"),
    ],
)
def test_a_wrong_schedule_is_refused_by_the_name_of_the_field(
    site: Polyforge, wrong: dict[str, Any], param: str
) -> None:
    body = {"kind": "requests.export", "title": "t", "cron": "0 3 * * *", "args": {"days": 1}, **wrong}
    refused = site.api("POST", "/jobs/schedules", body)
    assert (refused.status, refused.json["param"]) == (400, param)


def test_the_worker_and_its_jobs_are_seen(site: Polyforge) -> None:
    ended(site, export(site)["id"])

    def worker() -> list[dict[str, Any]]:
        components = site.api("GET", "/overview").json["components"]
        return [each for each in components if each["kind"] == "worker" and each["state"] == "ok" and each["seen_at"]]

    assert len(eventually(worker, "the worker in the overview")) == 1
    wanted = 'polyforge_job_runs_total{kind="requests.export",outcome="succeeded"}'
    eventually(lambda: wanted in site.call("/metrics", method="GET").body.decode(), "the runs in the metrics")


def test_commands_show_watch_and_repeat_jobs(site: Polyforge, run: Run) -> None:
    job = json.loads(run("requests", "export", "--since", SINCE, "--json"))
    assert job["id"] in run("job", "watch", job["id"])
    assert "polyforge job watch job_" in run("requests", "export", "--since", SINCE, "--model", "assistant")
    shown = json.loads(run("job", "show", job["id"], "--json"))
    assert (shown["state"], shown["kind"]) == ("succeeded", "requests.export")
    assert job["id"] in run("job", "list", "--state", "succeeded")
    assert "requests in" in run("job", "logs", job["id"], "--follow")
    with pytest.raises(CommandError, match="can be tried again"):
        run("job", "retry", job["id"])


def test_commands_keep_schedules(run: Run) -> None:
    added = run("job", "schedules", "add", "requests.export", "--cron", "0 3 * * *", "--args", '{"days": 1}', "--json")
    made = json.loads(added)
    assert made["title"] == "requests.export"
    assert "paused" in run("job", "schedules", "pause", made["id"])
    assert "goes on at" in run("job", "schedules", "resume", made["id"])
    started = json.loads(run("job", "schedules", "run", made["id"], "--json"))
    assert started["schedule_id"] == made["id"]
    assert made["id"] in run("job", "schedules", "list")
    run("job", "schedules", "remove", made["id"])
    assert made["id"] not in run("job", "schedules", "list")
    with pytest.raises(CommandError, match="no JSON"):
        run("job", "schedules", "add", "requests.export", "--cron", "0 3 * * *", "--args", "{")
