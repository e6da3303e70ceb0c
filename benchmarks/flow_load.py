"""`python -m benchmarks.flow_load`: how long callers of a chat wait while runs of flows keep a worker busy.

One installation with a gateway and a worker, and a scripted provider that answers at once. Callers ask steadily,
first while there is nothing else, then while so many runs are unfinished at any time; each run fills in templates and
asks the same provider twice. Who asks, who begins runs and the provider are processes of their own, so that none of
them waits for another one here. Prints JSON; a busy machine makes it worthless.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from openai import OpenAI

from benchmarks.asking import Asking
from tests.support.clients import Response, call
from tests.support.server import ALL, Polyforge, stopping
from tests.support.settings import UPSTREAM_KEY, solo
from tests.support.upstream import Upstream

MODEL: Final = "assistant"
TEMPLATES: Final = 8
_QUIET_SECONDS: Final = 15.0
_OVER: Final = ("succeeded", "failed", "cancelled")
_UNAVAILABLE: Final = 503
_PROCESSES: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Place:
    """An installation, as another process knows it."""

    url: str
    admin_key: str

    def api(self, method: str, path: str, json: object = None) -> Response:
        """One request to the management API as the administrator."""
        return call(self.url, f"/api/v1{path}", method=method, key=self.admin_key, json=json)


def document() -> dict[str, Any]:
    """Templates, a model, templates, and the model again."""
    nodes: dict[str, Any] = {"n0": {"type": "prompt.template", "v": 1, "params": {"template": "Say hello."}}}
    last = ["n0", "text"]
    for number in range(1, TEMPLATES):
        params = {"template": "{{before}}"}
        nodes[f"n{number}"] = {"type": "prompt.template", "v": 1, "params": params, "in": {"before": {"from": last}}}
        last = [f"n{number}", "text"]
        if number % (TEMPLATES // 2) == 0 or number == TEMPLATES - 1:
            asked = {"model": {"$ref": f"model:{MODEL}"}, "prompt": "{{before}}"}
            nodes[f"chat{number}"] = {"type": "model.chat", "v": 1, "params": asked, "in": {"before": {"from": last}}}
            last = [f"chat{number}", "text"]
    nodes["out"] = {"type": "flow.output", "v": 1, "params": {"name": "text"}, "in": {"value": {"from": last}}}
    interface = {"outputs": {"text": {"type": "text"}}}
    return {"schema": "flow.v1", "name": "Load", "interface": interface, "nodes": nodes}


def wait_for(place: Place, run: str) -> None:
    """Look now and then until a run is over; RuntimeError where it did not succeed."""
    state = "queued"
    while state not in _OVER:
        time.sleep(1.0)
        found = place.api("GET", f"/flow-runs/{run}")
        state = state if found.status == _UNAVAILABLE else found.json["state"]
    if state != _OVER[0]:
        raise RuntimeError(f"the run {run} {state}")


def keep_running(place: Place, at_once: int, seconds: float) -> Counter[str]:
    """Have so many runs unfinished for so long; how many ended, and how many were told to come again."""
    until = time.monotonic() + seconds

    def work(_: int) -> Counter[str]:
        done = Counter[str]()
        while time.monotonic() < until:
            found = place.api("POST", "/flows/load/run", {"mode": "async"})
            if found.status == _UNAVAILABLE:
                done["told_to_come_again"] += 1
                time.sleep(1.0)
                continue
            wait_for(place, found.json["id"])
            done["runs"] += 1
        return done

    with ThreadPoolExecutor(at_once) as together:
        return sum(together.map(work, range(at_once)), Counter())


def provide(pipe: Connection) -> None:
    """Be the provider until somebody says that it is over."""
    upstream = Upstream(remembers=False).start()
    pipe.send(upstream.url)
    pipe.recv()
    upstream.stop()


@contextmanager
def provider() -> Generator[str]:
    """The provider's address; it runs in a process of its own."""
    here, there = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=provide, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def measure(at_once: int, seconds: float, per_second: float) -> dict[str, Any]:
    """Callers alone, and callers beside the runs."""
    with tempfile.TemporaryDirectory() as folder, provider() as upstream:
        lab = {"use": "openai", "base_url": upstream, "api_key": UPSTREAM_KEY}
        chosen = {"providers": {"lab": lab}, "models": solo(MODEL, price={"per_call": 0.0})}
        server = Polyforge(Path(folder), chosen, roles=ALL)
        with stopping(server), ProcessPoolExecutor(1, _PROCESSES) as apart:
            made = server.api("POST", "/flows", {"slug": "load", "document": document()})
            committed = server.api("POST", "/flows/load/commit", {"message": "measured"})
            if made.status != 201 or committed.status not in (200, 201):
                raise RuntimeError(f"the flow is not there: {made.json} {committed.json}")
            place = Place(server.url, server.admin_key)
            client = OpenAI(base_url=f"{server.url}/v1", api_key=server.create_key().key, max_retries=0, timeout=60)

            def ask() -> None:
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])

            apart.submit(keep_running, place, 4, 1.0).result()
            load = round(os.getloadavg()[0], 2)
            quiet, busy = Asking(ask, per_second), Asking(ask, per_second)
            with quiet.going_on():
                time.sleep(_QUIET_SECONDS)
            began = time.perf_counter()
            with busy.going_on():
                done = apart.submit(keep_running, place, at_once, seconds).result()
            took = time.perf_counter() - began
    ratio = round(busy.told["p99_ms"] / quiet.told["p99_ms"], 2)
    told = {"cores": os.cpu_count(), "load_before": load, "quiet": quiet.told, "during_runs": busy.told}
    return {**told, "p99_ratio": ratio, **done, "runs_per_second": round(done["runs"] / took, 1)}


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="runs that are unfinished at any time")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--per-second", type=float, default=20.0, help="calls of those who wait")
    options = parser.parse_args()
    print(json.dumps(measure(options.runs, options.seconds, options.per_second), indent=2))


if __name__ == "__main__":
    main()
