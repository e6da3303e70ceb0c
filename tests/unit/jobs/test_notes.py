"""What runs say meanwhile is bounded."""

from polyforge.jobs.notes import Notes
from polyforge.jobs.records import MAX_LOG_BYTES, MAX_LOG_LINES, Progress
from polyforge.kernel.clock import FakeClock


def notes(last_line: int = 0) -> Notes:
    return Notes(FakeClock(), last_line, Progress())


def test_lines_are_numbered_from_the_last_on() -> None:
    said = notes(7)
    said.log("info", "one")
    said.log("error", "two")
    lines, _ = said.take()
    assert [(line.seq, line.level, line.text) for line in lines] == [(8, "info", "one"), (9, "error", "two")]
    assert not said.is_new


def test_progress_is_given_once() -> None:
    said = notes()
    said.say(1, 10, "rows", "reading")
    assert said.take()[1] == Progress(1.0, 10.0, "rows", "reading")
    assert said.take()[1] is None


def test_a_long_line_is_cut_at_a_character() -> None:
    said = notes()
    said.log("info", "ü" * MAX_LOG_BYTES)
    (line,), _ = said.take()
    assert len(line.text.encode()) <= MAX_LOG_BYTES
    assert line.text.endswith("ü...")


def test_texts_that_no_database_takes_are_made_such() -> None:
    said = notes()
    said.log("info", "a\0b\ud800c")
    (line,), _ = said.take()
    assert line.text == "ab?c"


def test_too_many_lines_at_once_are_left_out_and_told_of() -> None:
    said = notes()
    for number in range(1_500):
        said.log("info", str(number))
    lines, _ = said.take()
    assert len(lines) == 1_001
    assert lines[-1].text == "500 lines were left out: too many at once"


def test_the_last_line_of_a_log_says_that_it_ends() -> None:
    said = notes(MAX_LOG_LINES - 2)
    for _ in range(5):
        said.log("info", "x")
    lines, _ = said.take()
    assert [line.seq for line in lines] == [MAX_LOG_LINES - 1, MAX_LOG_LINES]
    assert lines[-1].text.startswith("the log ends here")


def test_what_could_not_be_written_is_given_again() -> None:
    said = notes()
    said.say(1, 2, "", "")
    said.log("info", "one")
    lines, progress = said.take()
    said.give_back(lines)
    said.log("info", "two")
    again, progress_again = said.take()
    assert [line.text for line in again] == ["one", "two"]
    assert progress_again == progress
