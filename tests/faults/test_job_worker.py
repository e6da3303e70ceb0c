"""The worker process of a running installation under `kill -9`, at SIGTERM, and on a machine of its own."""

import csv
import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import created
from tests.support.postgres import Postgres
from tests.support.server import ALL, WITHOUT_WORKER, Polyforge, stopping
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SINCE = "2020-01-01T00:00:00Z"
JOBS = 30


def export(server: Polyforge) -> str:
    made = server.api("POST", "/requests/exports", {"since": SINCE})
    assert made.status == 202, made.body
    return made.json["id"]


def job(server: Polyforge, job_id: str) -> dict[str, Any]:
    return server.api("GET", f"/jobs/{job_id}").json


def all_over(server: Polyforge, ids: list[str]) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]] | None:
        found = [job(server, each) for each in ids]
        return found if all(each["state"] in ("succeeded", "failed", "cancelled") for each in found) else None

    return eventually(look, "the end of all jobs") or []


def asked(server: Polyforge, count: int) -> None:
    key = server.create_key()
    for _ in range(count):
        body = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}
        assert server.call("/v1/chat/completions", key=key.key, json=body).status == 200
    server.settled(key, count)


def rows(server: Polyforge, done: dict[str, Any]) -> int:
    path = f"/v1/files/{done['result']['file_id']}/content"
    content = server.call(path, method="GET", key=server.admin_key).body
    return len(list(csv.DictReader(io.StringIO(content.decode()))))


def has_worker(server: Polyforge) -> bool:
    return bool(server.pids("worker")) and any(
        each["kind"] == "worker" and each["seen_at"] for each in server.api("GET", "/overview").json["components"]
    )


def test_jobs_outlive_workers_that_are_killed(tmp_path: Path, upstream: Upstream) -> None:
    server = Polyforge(tmp_path, settings(upstream, solo("assistant")), roles=ALL)
    server.clean = False
    with stopping(server):
        asked(server, 3)
        eventually(lambda: has_worker(server), "the worker")
        ids = [export(server) for _ in range(JOBS)]
        for _ in range(2):
            killed = server.kill("worker")
            eventually(lambda killed=killed: server.pids("worker") not in ([], [killed]), "another worker")
            eventually(lambda: any(job(server, each)["state"] == "succeeded" for each in ids), "a job to be done")
        done = all_over(server, ids)
        assert {each["state"] for each in done} == {"succeeded"}
        assert {rows(server, each) for each in done[:3]} == {3}


def test_calls_are_served_while_there_is_no_worker_and_jobs_say_so(tmp_path: Path, upstream: Upstream) -> None:
    server = Polyforge(tmp_path, settings(upstream, solo("assistant")), roles=WITHOUT_WORKER)
    with stopping(server):
        asked(server, 1)
        waiting = job(server, export(server))
        assert (waiting["state"], waiting["waiting_for"]["code"]) == ("queued", "no_worker")
        cancelled = server.api("POST", f"/jobs/{waiting['id']}/cancel").json
        assert cancelled["state"] == "cancelled"


def test_what_waits_is_done_after_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    server = Polyforge(tmp_path, settings(upstream, solo("assistant")), roles=ALL)
    with stopping(server):
        asked(server, 2)
        ids = [export(server) for _ in range(5)]
        server.restart()
        assert {each["state"] for each in all_over(server, ids)} == {"succeeded"}


def test_a_worker_that_stood_still_ends_and_another_goes_on(tmp_path: Path, upstream: Upstream) -> None:
    server = Polyforge(tmp_path, settings(upstream, solo("assistant")), roles=ALL)
    server.clean = False
    with stopping(server):
        asked(server, 1)
        eventually(lambda: has_worker(server), "the worker")
        (stopped,) = server.pids("worker")
        os.kill(stopped, signal.SIGSTOP)
        waiting = export(server)
        eventually(
            lambda: (job(server, waiting)["waiting_for"] or {}).get("code") == "no_worker", "its lease to run out"
        )
        os.kill(stopped, signal.SIGCONT)
        eventually(lambda: server.pids("worker") not in ([], [stopped]), "another worker")
        assert all_over(server, [waiting])[0]["state"] == "succeeded"


@pytest.mark.parametrize("killed", [False, True])
def test_a_worker_on_a_machine_of_its_own_does_the_work_of_a_gateway_elsewhere(
    tmp_path: Path, upstream: Upstream, postgres: Postgres, killed: bool
) -> None:
    declared = settings(upstream, solo("assistant"))
    declared["objects"] = {"use": "folder", "path": str(tmp_path / "objects")}
    with created(postgres, "jobs") as database:
        gateway = Polyforge(tmp_path / "gateway", declared, database_url=database.url, roles=["gateway"])
        with stopping(gateway):
            asked(gateway, 2)
            sharing = {"secrets": {"master_key": f"file:{gateway.data / 'master.key'}"}}
            worker = Polyforge(tmp_path / "worker", declared | sharing, database_url=database.url, roles=["worker"])
            worker.clean = gateway.clean = not killed
            with stopping(worker):
                assert worker.url == "worker"
                ids = [export(gateway) for _ in range(5)]
                if killed:
                    worker.kill("worker")
                done = all_over(gateway, ids)
                assert {each["state"] for each in done} == {"succeeded"}
                assert {rows(gateway, each) for each in done} == {2}
                assert gateway.call("/api/v1/keys", method="GET", key=gateway.admin_key).status == 200
