"""Writes AWS's binary event stream, as the scripted services of AWS send it."""

import struct
from collections.abc import Mapping
from zlib import crc32


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message."""
    head = b"".join([_header(name, value) for name, value in headers.items()])
    prelude = struct.pack(">II", len(head) + len(payload) + 16, len(head))
    prelude += struct.pack(">I", crc32(prelude))
    whole = prelude + head + payload
    return whole + struct.pack(">I", crc32(whole))


def event(name: str, payload: bytes, media_type: str = "application/json") -> bytes:
    """One event."""
    return message({":event-type": name, ":content-type": media_type, ":message-type": "event"}, payload)


def exception(name: str, payload: bytes) -> bytes:
    """The service breaking off."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, payload)


def _header(name: str, value: str) -> bytes:
    return struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
