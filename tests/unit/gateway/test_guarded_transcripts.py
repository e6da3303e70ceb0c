"""Transcripts go through guardrails in every format, whole and streamed."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from polyforge.adapters.guardrails import pii, schema
from polyforge.dialects.openai_transcripts import texts_of, with_text
from polyforge.gateway.guarding.hop import Guarding
from polyforge.gateway.guarding.transcripts import GuardedTranscript
from polyforge.gateway.job import Job
from polyforge.guardrails.passing import Passing
from polyforge.guardrails.rules import Rule, Rulebook
from polyforge.kernel.errors import GuardrailBlocked, GuardrailFailed
from polyforge.kernel.sse import event_of
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.guardrail import Action, Guardrail
from polyforge.ports.provider import Reply, StreamEvent
from polyforge.registry.catalog import Model
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller

MAIL = "jane.doe@acme.co"
USED = Usage(input=3)
SRT = f"1\n00:00:00,000 --> 00:00:02,500\nWrite to\n\n2\n00:00:02,500 --> 00:00:04,000\n{MAIL} now.\n"
VTT = f"WEBVTT\n\n00:00.000 --> 00:02.500 align:start\nWrite to {MAIL}\n\n00:02.500 --> 00:04.000\n4111111111111111\n"
EVENTS = b"text/event-stream; charset=utf-8"


class Nobody:
    """Asks no models."""

    def models(self, _asker: Any) -> None: ...


async def began(action: Action = "mask", guardrail: Guardrail | None = None) -> tuple[Guarding, Job, Passing]:
    made = guardrail or pii.PersonalData(pii.Settings(kinds=("email", "card")), action)
    guarding = Guarding(Rulebook([Rule("it", "it", made, frozenset({"output"}), action, always=True)]))
    request = InferenceRequest("transcription", "openai", "m", b"--x--")
    job = Job("id", Caller("k", "k", "o", "p", frozenset()), request, Model("m", "transcription", ()), Hops(), 0.0, 1e9)
    nobody: Any = Nobody()
    passing = await guarding.begin(job, nobody)
    assert passing is not None
    return guarding, job, passing


async def whole(body: bytes, kind: bytes, action: Action = "mask") -> bytes:
    guarding, job, passing = await began(action)
    return bytes((await guarding.reply(job, passing, Reply(USED, body, media_type=kind))).body or b"")


async def test_a_transcript_in_which_nothing_is_found_goes_on_as_it_is() -> None:
    body = b'{"text": "Hello.",  "words": [{"word": "Hello", "start": 0.1}], "logprobs": [1]}'
    assert await whole(body, b"application/json") == body
    assert await whole(b"Hello.\n", b"text/plain; charset=utf-8") == b"Hello.\n"


async def test_a_transcript_that_is_changed_loses_what_tells_the_same_words() -> None:
    told = {
        "task": "transcribe",
        "duration": 4.0,
        "text": f"Write to {MAIL}.",
        "words": [{"word": "Write"}, {"word": MAIL}],
        "segments": [{"id": 0, "text": f"Write to {MAIL}.", "tokens": [1, 2]}],
        "logprobs": [{"token": "jane"}],
    }
    changed = json.loads(await whole(json.dumps(told).encode(), b"application/json"))
    assert changed == {"text": "Write to [EMAIL].", "task": "transcribe", "duration": 4.0}


@pytest.mark.parametrize("field", ["segments", "words"])
async def test_what_only_a_segment_or_a_word_tells_is_judged_too(field: str) -> None:
    piece = {"text": MAIL} if field == "segments" else {"word": MAIL}
    body = json.dumps({"text": "Write to her.", field: [piece]}).encode()
    assert json.loads(await whole(body, b"application/json")) == {"text": "Write to her."}
    with pytest.raises(GuardrailBlocked):
        await whole(body, b"application/json", "block")


async def test_subtitles_keep_their_times() -> None:
    assert await whole(SRT.encode(), b"text/plain") == SRT.replace(MAIL, "[EMAIL]").encode()
    masked = VTT.replace(MAIL, "[EMAIL]").replace("4111111111111111", "[CARD]")
    assert await whole(VTT.encode(), b"text/vtt") == masked.encode()


def test_a_text_that_does_not_fit_into_its_subtitles_is_refused() -> None:
    assert texts_of(SRT.encode(), json=False) == [f"Write to\n\n{MAIL} now.\n"]
    with pytest.raises(ValueError, match="other lines"):
        with_text(SRT.encode(), "one line", json=False)


@pytest.mark.parametrize("body", [b"[]", b'{"text": 1}', b"\xff"])
async def test_what_cannot_be_read_is_not_given(body: bytes) -> None:
    with pytest.raises(GuardrailFailed):
        await whole(body, b"application/json")


def said(*events: dict[str, Any]) -> list[StreamEvent]:
    frames = [StreamEvent(event_of(json.dumps(event).encode()), content=True, size=1) for event in events]
    return [*frames, StreamEvent(b"", usage=USED, end=True, media_type=EVENTS)]


def heard(text: str, size: int) -> list[StreamEvent]:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    deltas = [{"type": "transcript.text.delta", "delta": piece, "logprobs": [{"token": piece}]} for piece in pieces]
    return said(*deltas, {"type": "transcript.text.done", "text": text, "usage": {"total_tokens": 3}})


async def stream(
    events: Sequence[StreamEvent], action: Action = "mask", guardrail: Guardrail | None = None
) -> list[dict[str, Any]]:
    guarding, job, passing = await began(action, guardrail)
    guarded = guarding.stream(job, passing)
    assert isinstance(guarded, GuardedTranscript)
    passed = [one for event in events for one in await guarded.pass_on([event])]
    assert (passed[-1].end, passed[-1].usage) == (True, USED)
    data = b"".join([event.frame for event in passed]).decode()
    return [json.loads(frame.removeprefix("data: ")) for frame in data.split("\n\n") if frame]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 40])
async def test_nothing_of_a_find_leaves_in_a_stream(size: int) -> None:
    events = await stream(heard(f"Do write to {MAIL} about this.", size))
    told = "Do write to [EMAIL] about this."
    assert "".join(event["delta"] for event in events[:-1]) == told
    assert events[-1] == {"type": "transcript.text.done", "text": told, "usage": {"total_tokens": 3}}


async def test_a_stream_that_is_blocked_breaks_off_and_is_paid_for() -> None:
    guarding, job, passing = await began("block")
    guarded = guarding.stream(job, passing)
    assert guarded is not None
    first, second, *rest = heard(f"Do write to {MAIL}.", 9)
    assert b"jane" not in b"".join([(await guarded.pass_on([event]))[0].frame for event in (first, second)])
    with pytest.raises(GuardrailBlocked):
        await guarded.pass_on(rest)
    assert job.streamed >= 1


async def test_a_guardrail_that_needs_the_whole_text_holds_it() -> None:
    fits = schema.Schema(schema.Settings(json_schema={"type": "number"}), "block")
    events = await stream(heard("1234", 2), "block", fits)
    assert events == [
        {"type": "transcript.text.delta", "delta": "1234"},
        {"type": "transcript.text.done", "text": "1234", "usage": {"total_tokens": 3}},
    ]
    with pytest.raises(GuardrailBlocked):
        await stream(heard("twelve", 2), "block", fits)


async def test_a_text_that_comes_at_the_end_alone_is_judged() -> None:
    events = await stream(said({"type": "transcript.text.done", "text": f"Write to {MAIL}."}))
    assert [event.get("delta", event.get("text")) for event in events] == ["Write to [EMAIL]."] * 2


@pytest.mark.parametrize(
    "events",
    [
        said({"type": "transcript.text.segment", "text": MAIL}),
        said({"type": "transcript.text.delta", "delta": "never done"}),
        [*heard("a", 1)[:-1], *heard(MAIL, 99)],
        said({"type": 3}),
    ],
    ids=["segment", "no end", "more after the end", "malformed"],
)
async def test_events_that_cannot_be_judged_are_not_sent(events: Sequence[StreamEvent]) -> None:
    with pytest.raises(GuardrailFailed):
        await stream(events)


async def test_a_model_that_does_not_stream_is_judged_whole() -> None:
    guarding, job, passing = await began()
    guarded = guarding.stream(job, passing)
    assert guarded is not None
    body = StreamEvent(json.dumps({"text": MAIL}).encode(), content=True, usage=USED, media_type=b"application/json")
    passed = await guarded.pass_on([body, StreamEvent(b"", end=True, media_type=b"application/json")])
    assert [event.frame for event in passed] == [b'{"text":"[EMAIL]"}', b""]
