"""`python -m benchmarks scorecard`: run the scorecard, print it, and write it down."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.runner import say
from benchmarks.scorecard.gateways import GATEWAYS
from benchmarks.scorecard.report import publish, terminal
from benchmarks.scorecard.results import Scorecard, save
from benchmarks.scorecard.rows import ROWS
from benchmarks.scorecard.runner import run

SUBJECT = "polyforge"


def main(arguments: Sequence[str]) -> int:
    """0 when Polyforge, where it took part, did the right thing in every row."""
    options = _parser().parse_args(arguments)
    if sys.platform != "linux" or not shutil.which("taskset"):
        say("needs Linux with taskset; on Debian: apt-get install -y util-linux")
        return 2
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    card = run(options.targets, rows)
    print(terminal(card))
    whole = len(rows) == len(ROWS) and options.targets == list(GATEWAYS)
    if options.json or whole:
        say(f"\nwritten: {save(card, options.json)}")
    if whole and not options.json:
        say(f"written: {publish(card)}")
    return _outcome(card)


def _outcome(card: Scorecard) -> int:
    ours = [gateway for gateway in card.gateways if gateway.name == SUBJECT]
    return int(any(card.count(SUBJECT, "right") < len(card.rows) for _ in ours))


def _parser() -> argparse.ArgumentParser:
    names, rows = list(GATEWAYS), [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks scorecard", description=__doc__)
    parser.add_argument(
        "--targets", type=_names, default=names, help=f"gateways with commas between: {','.join(names)}"
    )
    parser.add_argument("--only", action="append", choices=rows, help="run only this row; may be repeated")
    parser.add_argument("--json", type=Path, help="write the result here, and nothing to docs/")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in GATEWAYS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(GATEWAYS)}")
    return names
