"""`python -m benchmarks`: run the benchmarks and the scorecard, or render their newest results again."""

import argparse
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.checks import verdicts
from benchmarks.report import disturbance, page, publish
from benchmarks.results import Result, newest, save
from benchmarks.runner import Plan, run, say
from benchmarks.scenarios import FIRST_BYTE, LIMITED_SCENARIOS, PACED, SCENARIOS
from benchmarks.scorecard import command as scorecard
from benchmarks.scorecard import report as scorecard_report
from benchmarks.scorecard.results import newest as newest_scorecard
from benchmarks.serving import command as serving
from benchmarks.serving import report as serving_report
from benchmarks.serving.results import newest as newest_serving
from benchmarks.targets import all_targets

SUBJECT = "polyforge"


def main() -> int:
    """0 when Polyforge was measured without errors, keeps its promises and does what is right."""
    signal.signal(signal.SIGTERM, _leave)
    if sys.argv[1:2] == ["scorecard"]:
        return scorecard.main(sys.argv[2:])
    if sys.argv[1:2] == ["serving"]:
        return serving.main(sys.argv[2:])
    options = _parser().parse_args()
    if options.command == "report":
        return _report()
    missing = [program for program in ("nginx", "wrk", "taskset") if not shutil.which(program)]
    if missing or sys.platform != "linux":
        say(f"needs Linux with {', '.join(missing) or 'its tools'}; on Debian: apt-get install -y nginx-light wrk")
        return 2
    result = run(_plan(options))
    if options.json:
        save(result, options.json)
        print(page(result))
    else:
        path = save(result)
        say(f"\nwritten: {path}, {', '.join(str(each) for each in publish(result))}")
    outcome = _outcome(result)
    if options.only or options.scenario or options.json:
        return outcome
    return max(outcome, scorecard.main(["--targets", SUBJECT] if options.skip_peers else []))


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    # Whoever signals a group reaches this process twice; the second time it is busy ending its servers.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _plan(options: argparse.Namespace) -> Plan:
    targets = [target for target in all_targets() if not (options.skip_peers and target.peer)]
    if options.only:
        targets = [target for target in targets if target.name in options.only]
    every = (*SCENARIOS, *LIMITED_SCENARIOS)
    scenarios = [scenario for scenario in every if not options.scenario or scenario.name in options.scenario]
    return Plan(
        targets=targets,
        scenarios=scenarios,
        paced=[name for name in (PACED, FIRST_BYTE) if not options.scenario or name in options.scenario],
        seconds=options.seconds,
        rounds=options.rounds,
        streams=options.streams,
        chunks=options.chunks,
        pace_millis=options.pace,
    )


def _report() -> int:
    result, card, served = newest(), newest_scorecard(), newest_serving()
    written = publish(result) if result else []
    written += [scorecard_report.publish(card)] if card else []
    written += [serving_report.publish(served)] if served else []
    if not written:
        say("there is no result; run `make bench`")
        return 2
    say(f"written: {', '.join(str(each) for each in written)}")
    return 0


def _outcome(result: Result) -> int:
    for target in result.targets:
        if target.absent:
            say(f"ABSENT {target.title}: {target.absent}")
    if warning := disturbance(result):
        say(warning)
    found = verdicts(result)
    for verdict in found:
        word = {True: "kept", False: "MISSED", None: "not measured"}[verdict.kept]
        measured = "" if verdict.measured is None else f"{verdict.measured:.3f} {verdict.promise.unit}"
        say(f"{word:13} {verdict.promise.name}: {measured}")
    failed = any(window.refused or window.broken for window in result.windows)
    failed |= any(target.absent for target in result.targets if target.name == SUBJECT)
    return int(failed or any(verdict.kept is False for verdict in found))


def _parser() -> argparse.ArgumentParser:
    names = [target.name for target in all_targets()]
    scenarios = [scenario.name for scenario in (*SCENARIOS, *LIMITED_SCENARIOS)] + [PACED, FIRST_BYTE]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = ("run", "report", "scorecard", "serving")
    told = "`scorecard --help` and `serving --help` tell of those"
    parser.add_argument("command", nargs="?", choices=commands, default="run", help=told)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=5, help="windows of each target in each scenario")
    parser.add_argument("--only", action="append", choices=names, help="measure only this target; may be repeated")
    parser.add_argument("--skip-peers", action="store_true", help="leave out the other gateways")
    parser.add_argument("--scenario", action="append", choices=scenarios, help="only this one; may be repeated")
    parser.add_argument("--streams", type=int, default=200, help="paced streams at once")
    parser.add_argument("--chunks", type=int, default=100, help="chunks of a paced stream")
    parser.add_argument("--pace", type=int, default=50, help="milliseconds between two chunks of a paced stream")
    parser.add_argument("--json", type=Path, help="write the result here and the page to standard output, not to docs/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
