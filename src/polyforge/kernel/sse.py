"""Server-sent events as bytes: split a stream into whole events without decoding what nobody reads.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

DONE = b"[DONE]"
_BLANK = b"\r\n\r\n"


class EventTooLarge(ValueError):
    """One event outgrew the limit; the sender is broken or hostile."""


class EventSplitter:
    """Cuts arriving bytes into whole events, each with its blank line, whatever the chunk borders are."""

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self._rest = b""
        self._limit = limit

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes, in order, byte for byte as they came."""
        if b"\r" in chunk or b"\r" in self._rest:
            return self._feed_any_newline(chunk)
        data = self._rest + chunk if self._rest else chunk
        if data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2:
            self._rest = b""
            return [data]
        *whole, self._rest = data.split(b"\n\n")
        self._check()
        return [event + b"\n\n" for event in whole if event]

    def _feed_any_newline(self, chunk: bytes) -> list[bytes]:
        end = len(chunk) - len(_BLANK)
        if not self._rest and chunk.find(b"\r") == end and chunk.find(b"\n") == end + 1 and chunk.endswith(_BLANK):
            return [chunk[:end] + b"\n\n"]
        data = self._rest + chunk
        held = b""
        if data.endswith(b"\r"):
            data, held = data[:-1], b"\r"
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = data.split(b"\n\n")
        self._rest = rest + held
        self._check()
        return [event + b"\n\n" for event in whole if event]

    def _check(self) -> None:
        if len(self._rest) > self._limit:
            raise EventTooLarge(f"an event is longer than {self._limit} bytes")

    @property
    def rest(self) -> bytes:
        """What has come of an event that is not whole yet."""
        return self._rest


def data_of(event: bytes) -> bytes | None:
    """The payload of an event: its `data:` lines joined by newlines; None for a comment or a bare field."""
    if event.startswith(b"data:") and event.find(b"\n") >= len(event) - 2:
        return event[5:].strip()
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None


def event_of(data: bytes) -> bytes:
    """One event that carries `data`, which holds no newline."""
    return b"data: " + data + b"\n\n"
