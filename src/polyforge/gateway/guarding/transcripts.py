"""What was heard in an audio, on its way through guardrails: whole in every format, and as a stream."""

from collections.abc import Sequence
from typing import Final

import msgspec

from polyforge.dialects import openai_transcripts
from polyforge.gateway.job import Job
from polyforge.guardrails.passing import Passing
from polyforge.kernel.chat import Delta, Finished, TextDelta
from polyforge.kernel.errors import GuardrailFailed, PolyforgeError
from polyforge.kernel.sse import DONE
from polyforge.ports.guardrail import Passage
from polyforge.ports.provider import Reply, StreamEvent
from polyforge.upstreams.streams import SsePayloads

_DELTA: Final = "transcript.text.delta"
_DONE: Final = "transcript.text.done"
_UNREADABLE: Final = "the provider's transcript cannot be judged"


async def judge_transcript(job: Job, passing: Passing, reply: Reply) -> Reply:
    """A whole transcript as it may be given. One that has to be changed loses the times of its words."""
    body = bytes(reply.body or b"")
    job.streamed = max(1, len(body))
    judged = await _judge(passing, body, reply.media_type)
    return reply if judged is body else msgspec.structs.replace(reply, body=judged)


async def _judge(passing: Passing, body: bytes, media_type: bytes) -> bytes:
    json = b"json" in media_type
    try:
        said = openai_transcripts.texts_of(body, json=json)
    except (ValueError, RecursionError) as error:
        raise GuardrailFailed(_UNREADABLE) from error
    texts = await passing.check("output", [Passage(text, role="assistant") for text in said])
    if texts is None:
        return body
    try:
        return openai_transcripts.with_text(body, texts[0], json=json)
    except ValueError as error:
        raise GuardrailFailed("what a guardrail changed in the transcript cannot be put back into it") from error


class GuardedTranscript:
    """A streamed transcript as it may be given: events of its text, and what some models answer whole."""

    def __init__(self, job: Job, passing: Passing) -> None:
        self._job = job
        self._passing = passing
        self._guard = passing.stream()
        self._payloads = SsePayloads()
        self._whole = bytearray()
        self._heard = False
        self._over = False
        self._passed: list[str] = []

    async def pass_on(self, batch: Sequence[StreamEvent]) -> list[StreamEvent]:
        """What to send on for some events. GuardrailBlocked or GuardrailFailed when nothing more may be sent."""
        try:
            return [await self._pass(event) for event in batch]
        except PolyforgeError:
            # What was made and held back is paid for too.
            self._job.streamed += max(1, sum(event.size for event in batch))
            raise

    async def _pass(self, event: StreamEvent) -> StreamEvent:
        if self._whole or (event.media_type and b"event-stream" not in event.media_type):
            return await self._pass_whole(event)
        try:
            frames = [await self._read(data) for data in self._payloads.feed(event.frame)]
        except ValueError as error:
            raise GuardrailFailed(_UNREADABLE) from error
        if event.end and not self._over:
            raise GuardrailFailed(_UNREADABLE)
        return msgspec.structs.replace(event, frame=b"".join(frames))

    async def _pass_whole(self, event: StreamEvent) -> StreamEvent:
        """Of a model that does not stream: its body is one event, with the end behind it."""
        if event.end:
            return event
        self._whole += event.frame
        return msgspec.structs.replace(event, frame=await _judge(self._passing, event.frame, event.media_type))

    async def _read(self, data: bytes) -> bytes:
        """The frames to send for one event."""
        if data.startswith(DONE):
            return b"data: [DONE]\n\n"
        event = openai_transcripts.read_event(data)
        if self._over or event.type not in (_DELTA, _DONE):
            raise GuardrailFailed(_UNREADABLE)
        done = event.type == _DONE
        text = event.delta if not done else "" if self._heard else event.text
        self._heard = self._heard or bool(text)
        said: list[Delta] = [TextDelta(text)] if text else []
        passed = await self._guard.pass_on([*said, Finished("stop")] if done else said, end=done)
        instead = "".join([delta.text for delta in passed if isinstance(delta, TextDelta)])
        self._passed.append(instead)
        frame = openai_transcripts.write_event("delta", instead) if instead else b""
        if not done:
            return frame
        self._over = True
        return frame + openai_transcripts.write_event("done", "".join(self._passed), event.usage)
