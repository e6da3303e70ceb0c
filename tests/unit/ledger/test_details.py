"""How a call went, in one blob: written as it was measured, read by any version."""

import msgspec

from polyforge.guardrails.passing import Found
from polyforge.tenancy.ledger.details import NO_DETAILS, Details, FoundDetail, decode_details, encode_details

START = 7_000_000_000_000


def blob(**changes: object) -> bytes:
    tried = [("openai", "gpt", START + 400_000, START + 900_000, "rate_limited"), ("lab", "l", START, START, "ok")]
    found = [Found("mask-mail", "input", "mask", ("email",), 2)]
    fields = {"path": "/v1/chat", "marks": [START, START + 5_000, START + 1_005_999], "waited": 500, "tried": tried}
    rest = {"first_token": START + 1_500_000, "trace_id": b"\x01" * 16, "found": found, "dropped": ["seed"], "wish": ""}
    return encode_details(tuple({**fields, **rest, **changes}.values()))


def test_what_is_written_can_be_read() -> None:
    details = decode_details(blob())
    assert details.path == "/v1/chat"
    assert details.hops_us == [5, 1000]
    assert [(tried[0], tried[4]) for tried in details.tried] == [("openai", "rate_limited"), ("lab", "ok")]
    assert [details.milliseconds(moment) for moment in details.tried[0][2:4]] == [0.4, 0.9]
    assert details.first_token_ms == 1.5
    assert details.found == (FoundDetail("mask-mail", "input", "mask", ("email",), 2),)
    assert (details.trace_id, details.dropped) == (b"\x01" * 16, ("seed",))


def test_rows_without_details_and_blobs_of_nobody_say_nothing() -> None:
    assert decode_details(None) == decode_details(b"") == decode_details(b"\xff\x00nonsense") == NO_DETAILS
    assert NO_DETAILS.hops_us == []
    assert NO_DETAILS.first_token_ms is None


def test_a_later_version_may_add_fields_and_an_earlier_one_may_lack_some() -> None:
    assert decode_details(msgspec.msgpack.encode([*msgspec.msgpack.decode(blob()), "new"])) == decode_details(blob())
    assert decode_details(msgspec.msgpack.encode(["/v1/chat"])) == Details("/v1/chat")
