"""`python -m benchmarks serving`: measure the model host beside other model servers, and write it down."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.runner import say
from benchmarks.serving.checks import verdicts
from benchmarks.serving.others import all_servers
from benchmarks.serving.report import page, publish
from benchmarks.serving.results import ServingResult, save
from benchmarks.serving.runner import Plan, run
from benchmarks.serving.workloads import SCENARIOS

MODELS = "POLYFORGE_TEST_MODELS"
ENCODER = "minilm-onnx-int8"


def main(arguments: Sequence[str]) -> int:
    """0 when the host was measured without errors and keeps its promises."""
    options = _parser().parse_args(arguments)
    missing = [program for program in ("wrk", "taskset") if not shutil.which(program)]
    if missing or sys.platform != "linux":
        say(f"needs Linux with {', '.join(missing) or 'its tools'}; on Debian: apt-get install -y wrk")
        return 2
    folder = options.models or os.environ.get(MODELS)
    if not folder or not (Path(folder) / ENCODER).is_dir():
        say(f"--models or {MODELS} must name the folder that {ENCODER} lies in")
        return 2
    result = run(_plan(options, Path(folder) / ENCODER))
    whole = not (options.only or options.scenario or options.quick or options.skip_peers)
    if options.json or whole:
        say(f"\nwritten: {save(result, options.json)}")
    if whole and not options.json:
        say(f"written: {publish(result)}")
    else:
        print(page(result))
    return _outcome(result)


def _plan(options: argparse.Namespace, encoder: Path) -> Plan:
    return Plan(
        encoder=encoder,
        servers=[
            server
            for server in all_servers()
            if (not options.only or server.name in options.only) and not (options.skip_peers and server.peer)
        ],
        scenarios=[each for each in SCENARIOS if not options.scenario or each.name in options.scenario],
        seconds=min(options.seconds, 2.0) if options.quick else options.seconds,
        rounds=1 if options.quick else options.rounds,
        compared=60 if options.quick else 200,
    )


def _outcome(result: ServingResult) -> int:
    for server in result.servers:
        if server.absent:
            say(f"ABSENT {server.title}: {server.absent}")
    found = verdicts(result)
    for verdict in found:
        word = {True: "kept", False: "MISSED", None: "not measured"}[verdict.kept]
        measured = "" if verdict.measured is None else f"{verdict.measured:.4f} {verdict.promise.unit}"
        say(f"{word:13} {verdict.promise.name}: {measured}")
    return int(any(verdict.kept is False for verdict in found))


def _parser() -> argparse.ArgumentParser:
    names, scenarios = [server.name for server in all_servers()], [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks serving", description=__doc__)
    parser.add_argument("--models", type=Path, help=f"the folder that {ENCODER} lies in; default: {MODELS}")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each server with each kind of request")
    parser.add_argument("--quick", action="store_true", help="one round of short windows, which says little")
    parser.add_argument("--only", action="append", choices=names, help="measure only this server; may be repeated")
    parser.add_argument("--skip-peers", action="store_true", help="leave out the other servers")
    parser.add_argument("--scenario", action="append", choices=scenarios, help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, help="write the result here and the page to standard output, not to docs/")
    return parser
