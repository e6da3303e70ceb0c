"""Lines of a child's output: bounded in length and number."""

from hypothesis import given
from hypothesis import strategies as st

from polyforge.isolation.output import BURST_LINES, LINES_PER_SECOND, MAX_LINE_BYTES, OutputLines
from polyforge.kernel.clock import FakeClock


def lines_of(*chunks: bytes) -> list[str]:
    lines = OutputLines(FakeClock().monotonic)
    return [line for chunk in chunks for line in lines.feed(chunk)] + list(lines.end())


def test_lines_are_cut_at_newlines_wherever_chunks_end() -> None:
    assert lines_of(b"one\ntw", b"o\n\n  \nthr", b"ee") == ["one", "two", "three"]


def test_what_is_no_text_is_shown_as_far_as_it_is() -> None:
    assert lines_of(b"caf\xc3\xa9 \xff\n") == ["café \ufffd"]


def test_a_long_line_loses_its_end_and_the_next_is_whole() -> None:
    endless = [b"x" * 1000] * 50
    assert lines_of(*endless, b"tail\nnext\n") == ["x" * MAX_LINE_BYTES, "next"]


def test_of_too_many_lines_only_the_number_is_told() -> None:
    clock = FakeClock()
    lines = OutputLines(clock.monotonic)
    told = list(lines.feed(b"line\n" * (BURST_LINES + 300)))
    assert told == ["line"] * BURST_LINES
    clock.advance(1.5 / LINES_PER_SECOND)
    assert list(lines.feed(b"later\n")) == ["(300 lines were left out: too many at once)", "later"]
    assert list(lines.end()) == []


def test_the_number_is_told_at_the_end_too() -> None:
    assert lines_of(b"line\n" * (BURST_LINES + 2))[-1] == "(2 lines were left out: too many at once)"


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_whatever_comes_is_bounded(chunks: list[bytes]) -> None:
    told = lines_of(*chunks)
    assert len(told) <= BURST_LINES + 1
    assert all(len(line) <= MAX_LINE_BYTES for line in told)
