"""The hop times of a request."""

from polyforge.telemetry.hops import HOPS, Hops


def walked(*marks: int, waited: int = 0) -> Hops:
    hops = Hops()
    hops.marks = list(marks)
    hops.waited = waited
    return hops


def test_a_mark_per_hop_never_runs_backwards() -> None:
    hops = Hops()
    for _ in HOPS:
        hops.mark()
    assert len(hops.marks) == len(HOPS) + 1
    assert hops.marks == sorted(hops.marks)
    assert len(hops.microseconds()) == len(HOPS)


def test_durations_are_in_whole_microseconds_and_stop_where_the_request_did() -> None:
    hops = walked(1_000, 5_999, 12_000_000)
    assert hops.microseconds() == [4, 11_994]
    assert hops.total_ns == 11_999_000


def test_overhead_is_the_total_without_the_wait_for_upstreams() -> None:
    assert walked(0, 900_000, waited=700_000).overhead_ns == 200_000


def test_overhead_is_never_negative() -> None:
    assert walked(0, 10, waited=50).overhead_ns == 0
