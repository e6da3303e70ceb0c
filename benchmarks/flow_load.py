"""`python -m benchmarks.flow_load`: how long callers of a chat wait while runs of flows keep a worker busy.

One installation with a gateway and a worker, and a provider that answers at once. Callers ask steadily,
first while there is nothing else, then while so many runs are unfinished at any time; each run fills in templates and
asks the same provider twice. As in `make bench` all of Polyforge is on one core, the canned provider, who asks and who
begins runs on another. Prints JSON; a busy machine makes it worthless.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openai import OpenAI

from benchmarks.asking import Asking
from benchmarks.processes import cores
from benchmarks.upstream import CannedUpstream, Ports
from tests.support.clients import Response, call
from tests.support.server import ALL, Polyforge, stopping
from tests.support.settings import UPSTREAM_KEY, solo

CALLERS: Final = "assistant"
RUNS: Final = "writer"
TEMPLATES: Final = 8
_QUIET_SECONDS: Final = 30.0
_OVER: Final = ("succeeded", "failed", "cancelled")
_UNAVAILABLE: Final = 503


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
            asked = {"model": {"$ref": f"model:{RUNS}"}, "prompt": "{{before}}"}
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


def chosen(ports: Ports) -> dict[str, Any]:
    """The settings: one model for callers, which is answered whole, and one for runs, which is streamed."""
    models, providers = dict[str, Any](), dict[str, Any]()
    for name, port in ((CALLERS, ports.whole), (RUNS, ports.stream)):
        providers[name] = {"use": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "api_key": UPSTREAM_KEY}
        models |= solo(name, provider=name, price={"per_call": 0.0})
    return {"providers": providers, "models": models}


def measure(at_once: int, seconds: float, per_second: float) -> dict[str, Any]:
    """Callers alone, and callers beside the runs."""
    server_core, load_core = cores()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        upstream = CannedUpstream(Path(folder) / "upstream", load_core)
        stack.callback(upstream.stop)
        upstream.start()
        os.sched_setaffinity(0, {server_core})
        server = Polyforge(Path(folder), chosen(upstream.ports), roles=ALL)
        stack.enter_context(stopping(server))
        os.sched_setaffinity(0, {load_core})
        apart = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        made = server.api("POST", "/flows", {"slug": "load", "document": document()})
        committed = server.api("POST", "/flows/load/commit", {"message": "measured"})
        if made.status != 201 or committed.status not in (200, 201):
            raise RuntimeError(f"the flow is not there: {made.json} {committed.json}")
        place = Place(server.url, server.admin_key)
        client = OpenAI(base_url=f"{server.url}/v1", api_key=server.create_key().key, max_retries=0, timeout=60)

        def ask() -> None:
            client.chat.completions.create(model=CALLERS, messages=[{"role": "user", "content": "Hello"}])

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
