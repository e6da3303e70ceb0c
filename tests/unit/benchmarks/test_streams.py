"""The paced upstream speaks every dialect, its client reads every one, and what they measure is held to its limit."""

from collections.abc import Callable

import pytest

from benchmarks.checks import PROMISES, Promise
from benchmarks.paced_upstream import SCRIPTS
from benchmarks.readers import READERS
from benchmarks.results import Conditions, Machine, Options, PacedWindow, Result
from benchmarks.scenarios import CROSSED, FIRST_BYTE, PACED, PASSED, Caller, Pair, Wire, stream_body
from polyforge.dialects.anthropic_messages.reading import read_chat as read_messages
from polyforge.dialects.anthropic_messages.streams import EventReader as MessageReader
from polyforge.dialects.anthropic_messages.streams import EventWriter as MessageWriter
from polyforge.dialects.bedrock_converse.streams import EventReader as ConverseReader
from polyforge.dialects.gemini.streams import EventReader as GeminiReader
from polyforge.dialects.gemini.tool_names import ToolNames
from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.dialects.openai_chat.streams import ChunkReader, ChunkWriter
from polyforge.dialects.openai_responses.requests import read_chat as read_response
from polyforge.dialects.openai_responses.streams import EventWriter as ResponseWriter
from polyforge.dialects.writing import Answering, StreamWriter
from polyforge.kernel.chat import ChatRequest, Finished, Started, TextDelta
from polyforge.kernel.sse import EventSplitter
from polyforge.kernel.usage import Usage
from polyforge.upstreams.aws_streams import EventPayloads
from polyforge.upstreams.streams import CanonicalStream

STAMPS = [b"0:0:17", b"0:1:18"]
STREAMS: dict[Wire, Callable[[], CanonicalStream]] = {
    "openai": lambda: CanonicalStream(ChunkReader()),
    "anthropic": lambda: CanonicalStream(MessageReader()),
    "gemini": lambda: CanonicalStream(GeminiReader(ToolNames())),
    "bedrock": lambda: CanonicalStream(ConverseReader(), EventPayloads()),
}
WRITERS: dict[Caller, Callable[[Answering], StreamWriter]] = {
    "chat": ChunkWriter,
    "messages": MessageWriter,
    "responses": ResponseWriter,
}
REQUESTS: dict[Caller, Callable[[bytes], ChatRequest]] = {
    "chat": read_chat,
    "messages": read_messages,
    "responses": read_response,
}


@pytest.mark.parametrize("wire", SCRIPTS)
def test_the_upstream_says_in_every_dialect_what_it_is_to_say(wire: Wire) -> None:
    script, stream = SCRIPTS[wire], STREAMS[wire]()
    sent = [script.opening, *map(script.chunk, STAMPS), script.closing(len(STAMPS))]
    events = [event for chunk in sent for event in stream.feed(chunk)]
    events += [] if stream.ended else stream.finish()
    deltas = [delta for event in events for delta in event.deltas]
    assert [delta.text.encode() for delta in deltas if isinstance(delta, TextDelta) and delta.text] == STAMPS
    assert [delta.finish for delta in deltas if isinstance(delta, Finished)] == ["stop"]
    usage = next(event.usage for event in reversed(events) if event.usage)
    assert (usage.input, usage.output) == (200, len(STAMPS))


@pytest.mark.parametrize("caller", WRITERS)
def test_the_client_sees_every_chunk_and_the_end(caller: Caller) -> None:
    writer = WRITERS[caller](Answering("1", "m", 1, asked=b'{"model":"m","input":"x"}'))
    sent = writer.write([Started(), *(TextDelta(stamp.decode()) for stamp in STAMPS), Finished("stop")])
    sent += writer.end(Usage(1, output=2))
    lines = [line for event in EventSplitter().feed(sent) for line in event.split(b"\n") if line.startswith(b"data:")]
    seen = [READERS[caller](line.removeprefix(b"data:").strip()) for line in lines]
    assert [each.text.encode() for each in seen if each.text] == STAMPS
    assert [each.finished for each in seen].count(True) == 1
    assert [each.done for each in seen].index(True) == len(seen) - 1


@pytest.mark.parametrize("pair", [PASSED, *CROSSED], ids=lambda pair: pair.name)
def test_a_request_allows_as_many_tokens_as_there_are_to_be_chunks(pair: Pair) -> None:
    chat = REQUESTS[pair.caller](stream_body(pair, 1_000, 40))
    assert chat.output_limit == 40
    assert [message.role for message in chat.messages] == ["system", "user"]


def window(target: str, cpu: float | None, micros: int, pair: Pair = PASSED, scenario: str = PACED) -> PacedWindow:
    conditions = Conditions(0.02, 0.0, 0.0, 0.5)
    return PacedWindow(target, 0, 10, 1, 0, 0, micros, 2 * micros, cpu, None, conditions, scenario, pair.name)


def measured(name: str, *windows: PacedWindow) -> float | None:
    machine = Machine("cpu", 2, 1, "os", "k", "3.11", (0.0, 0.0, 0.0))
    result = Result(1, "", machine, {}, Options(1, 1, 1, 1, 1, 1, 0, 1), [], [], [], list(windows))
    promise: Promise[Result] = next(promise for promise in PROMISES if promise.name.startswith(name))
    return promise.figure(result)


def test_the_dearest_pair_is_held_against_what_passes_through() -> None:
    crossed = [window("polyforge", 100.0 + place, 1, pair) for place, pair in enumerate(CROSSED)]
    name = "CPU per chunk of the dearest pair"
    assert measured(name, window("polyforge", 50.0, 1), *crossed) == (100.0 + len(CROSSED) - 1) / 50.0
    assert measured(name, window("polyforge", 50.0, 1)) is None


def test_the_first_byte_is_that_of_the_slowest_pair() -> None:
    ours = [window("polyforge", 1.0, micros, pair, FIRST_BYTE) for micros, pair in ((900, PASSED), (1_500, CROSSED[0]))]
    direct, bare = (
        window("direct", None, 500, scenario=FIRST_BYTE),
        window("bare-stream", 1.0, 700, scenario=FIRST_BYTE),
    )
    assert measured("first byte of a stream, median", *ours, direct, bare) == 1.0
    assert measured("first byte of a stream, 99th", *ours, direct, bare) == 1.6
    assert measured("first byte of a stream, median", *ours, window("direct", None, 500)) is None
