"""Ids, money, server-sent events and Retry-After."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.kernel import ids
from polyforge.kernel.money import ceil_micros, from_usd, picos_per_unit, to_usd
from polyforge.kernel.retry_after import read_retry_after
from polyforge.kernel.sse import EventSplitter, EventTooLarge, data_of, event_of


def test_ulids_rise_and_read_back() -> None:
    made = [ids.new_ulid() for _ in range(5_000)]
    assert made == sorted(set(made))
    assert all(len(ulid) == 26 and ids.encode(ids.decode(ulid)) == ulid for ulid in made)


@given(st.integers(0, (1 << 128) - 1))
def test_every_number_has_its_ulid(number: int) -> None:
    assert ids.decode(ids.encode(number)) == number


@pytest.mark.parametrize("text", ["", "0" * 25, "Z" * 26, "U" * 26])
def test_what_is_no_ulid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"26 characters|128 bits|substring"):
        ids.decode(text)


def test_money_is_exact() -> None:
    assert from_usd("0.1") + from_usd("0.2") == from_usd("0.3") == 300_000
    assert from_usd(Decimal("1.0000005")) == 1_000_000
    assert to_usd(1_500_000) == 1.5
    assert ceil_micros(picos_per_unit(0.15) * 7) == 2
    assert ceil_micros(0) == 0


@pytest.mark.parametrize("amount", ["nan", "inf", "-inf"])
def test_money_that_is_none_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        from_usd(amount)


EVENTS = st.lists(st.sampled_from([b"data: a\n\n", b": ping\n\n", b'event: x\ndata: {"a":1}\n\n']), max_size=12)


@given(EVENTS, st.data(), st.booleans())
def test_events_do_not_depend_on_chunk_borders(events: list[bytes], data: st.DataObject, crlf: bool) -> None:
    stream = b"".join(events)
    sent = stream.replace(b"\n", b"\r\n") if crlf else stream
    splitter, found, at = EventSplitter(), [], 0
    while at < len(sent):
        size = data.draw(st.integers(1, len(sent) - at))
        found += splitter.feed(sent[at : at + size])
        at += size
    found += splitter.feed(b"")
    assert found == events


def test_an_event_without_end_is_refused() -> None:
    splitter = EventSplitter(limit=100)
    for _ in range(10):
        splitter.feed(b"data: 1234")
    with pytest.raises(EventTooLarge):
        splitter.feed(b"data: 1234")


def test_data_of_an_event() -> None:
    assert data_of(event_of(b"[DONE]")) == b"[DONE]"
    assert data_of(b"event: x\ndata:1\ndata: 2\n\n") == b"1\n2"
    assert data_of(b": ping\n\n") is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ms-retry-after-ms": "20"}, 0.02),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers.get) == seconds
