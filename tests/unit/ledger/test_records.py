"""What was written down before stays readable."""

import msgspec

from polyforge.kernel.usage import Usage
from polyforge.tenancy.ledger.records import UsageRecord
from tests.unit.tenancy.samples import record


def test_a_record_of_before_usage_had_units_is_read_with_none() -> None:
    written = msgspec.to_builtins(record())
    place = UsageRecord.__struct_fields__.index("usage")
    written[place] = {"input": 1, "cache_read": 2, "cache_write": 3, "output": 4, "reasoning": 5, "exact": False}
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(written), type=UsageRecord)
    assert read.usage == Usage(1, 2, 3, 4, 5, exact=False)


def test_a_record_comes_back_as_it_was_written() -> None:
    usage = Usage(1, 2, 3, 4, 5, False, 1, 2, 1, 6, 7, 8)
    call = record(usage=usage)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=UsageRecord) == call
