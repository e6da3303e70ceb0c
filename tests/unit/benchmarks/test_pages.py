"""The pages are what the newest results say, and a scorecard is shown as it is."""

from benchmarks import report
from benchmarks import results as measured
from benchmarks.results import Machine, TargetInfo
from benchmarks.scorecard import report as scorecard_report
from benchmarks.scorecard import results as scorecards
from benchmarks.scorecard.results import Cell, RowInfo, Scorecard

MACHINE = Machine("A CPU", 2, 10**9, "Debian", "6.1", "3.11", (0.0, 0.0, 0.0))
CARD = Scorecard(
    1,
    "2026-11-21T10:00:00+00:00",
    MACHINE,
    [TargetInfo("polyforge", "Polyforge", "0.1.0"), TargetInfo("portkey", "Portkey", absent="node not found")],
    [RowInfo("cut", "stream truncated", "It is told."), RowInfo("race", "budget race", "Exactly ten.")],
    [Cell("cut", "polyforge", "right", "error event"), Cell("race", "polyforge", "wrong", "11 served")],
)


def test_the_page_of_benchmarks_is_what_the_newest_result_says() -> None:
    newest = measured.newest()
    assert newest
    assert report.PAGE.read_text() == report.page(newest), "run `python -m benchmarks report`"


def test_the_page_of_the_scorecard_is_what_the_newest_one_says() -> None:
    newest = scorecards.newest()
    assert newest
    assert scorecard_report.PAGE.read_text() == scorecard_report.page(newest), "run `python -m benchmarks report`"


def test_a_scorecard_on_the_page() -> None:
    page = scorecard_report.page(CARD)
    assert "| [stream truncated](#stream-truncated) | right | absent |" in page
    assert "| [budget race](#budget-race) | **wrong** | absent |" in page
    assert "| right, of those offered | 1 of 2 | absent |" in page
    assert "- Polyforge: **wrong**: 11 served" in page
    assert "- Portkey: **absent**: node not found" in page


def test_a_scorecard_on_the_terminal_tells_what_went_wrong() -> None:
    lines = scorecard_report.terminal(CARD).splitlines()
    assert lines[1].split() == ["stream", "truncated", "right", "absent"]
    assert "Polyforge, budget race: wrong: 11 served" in lines
    assert "Portkey is absent: node not found" in lines
    assert not [line for line in lines if "error event" in line]


def test_the_heading_of_a_row_is_where_the_table_leads() -> None:
    page = scorecard_report.page(CARD)
    assert "## Stream truncated\n" in page
    assert "## Budget race\n" in page
