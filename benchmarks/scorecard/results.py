"""What a scorecard leaves behind: a verdict per row and gateway, with versions and the machine, as a JSON file."""

from pathlib import Path

import msgspec

from benchmarks.results import FOLDER, Machine, TargetInfo, short_cpu
from benchmarks.scorecard.judging import Verdict

FORMAT = 1


class RowInfo(msgspec.Struct, frozen=True):
    """A row, as it was put."""

    name: str
    title: str
    right: str


class Cell(msgspec.Struct, frozen=True):
    """What one gateway did in one row."""

    row: str
    gateway: str
    verdict: Verdict
    observed: str


class Scorecard(msgspec.Struct, frozen=True):
    """One run."""

    format: int
    date: str
    machine: Machine
    gateways: list[TargetInfo]
    rows: list[RowInfo]
    cells: list[Cell]

    def cell(self, row: str, gateway: str) -> Cell | None:
        """What a gateway did in a row; None where it was absent."""
        return next((cell for cell in self.cells if (cell.row, cell.gateway) == (row, gateway)), None)

    def count(self, gateway: str, verdict: Verdict) -> int:
        """How many rows of a gateway have this verdict."""
        return sum((cell.gateway, cell.verdict) == (gateway, verdict) for cell in self.cells)


def save(card: Scorecard, path: Path | None = None) -> Path:
    """Write a scorecard; by default under the day and the machine's processor."""
    path = path or FOLDER / f"scorecard-{card.date[:10]}-{short_cpu(card.machine.cpu)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    return path


def newest() -> Scorecard | None:
    """The scorecard with the latest date, if there is any."""
    cards = [msgspec.json.decode(path.read_bytes(), type=Scorecard) for path in FOLDER.glob("scorecard-*.json")]
    return max(cards, key=lambda card: card.date, default=None)
