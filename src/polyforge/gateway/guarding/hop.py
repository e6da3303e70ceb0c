"""Takes jobs through their guardrails: what is asked before anybody hears it, what is answered before anybody reads it.

Bodies and frames that nothing was found in go on as they are. What has to be changed is changed where it stands, so
that no field is lost which only the caller's dialect knows; where that is not possible it goes on in canonical form.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from polyforge.dialects import oip
from polyforge.dialects.multipart import is_form, read_form
from polyforge.dialects.openai_chat import completions
from polyforge.dialects.openai_chat.completions import CompletionReader
from polyforge.gateway.asking import Asking, asker_of
from polyforge.gateway.guarding.transcripts import GuardedTranscript, judge_transcript
from polyforge.gateway.job import Job
from polyforge.gateway.recorded import BODIES, STREAMS
from polyforge.guardrails.passages import answered, asked, texts_of, with_answered, with_asked
from polyforge.guardrails.passing import Passing
from polyforge.guardrails.rewriting import with_texts
from polyforge.guardrails.rules import Rulebook
from polyforge.guardrails.streams import StreamGuard
from polyforge.kernel.chat import ChatRequest, ChatResult, Delta
from polyforge.kernel.errors import GuardrailBlocked, GuardrailFailed, PolyforgeError, Unsupported
from polyforge.kernel.tasks import TensorRequest
from polyforge.ports.guardrail import About, Passage
from polyforge.ports.provider import Reply, StreamEvent
from polyforge.upstreams.streams import CanonicalStream, event_of_deltas

_TEXT_FIELDS: Final = ("input", "prompt", "suffix", "instructions", "messages", "system")
"""Where tasks that are no chats have their texts; the last two are those of a request to count tokens."""
_TOKENISED: Final = ("input", "prompt")
"""Of these, those that may hold tokens instead."""
_INNER_FIELDS: Final = frozenset({"text", "content", "thinking"})
"""Where parts of these have theirs."""
_ASIDES: Final = ("metadata", "prediction", "safety_identifier", "prompt_cache_key")
"""What providers are told beside the texts: labels and names, and an answer that is guessed."""
_CHATS: Final = frozenset({"chat", "completion"})
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_decode_any: Final = msgspec.json.Decoder().decode


class Guarding:
    """The hop of guardrails."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook

    @property
    def any(self) -> bool:
        """Whether there is a guardrail at all."""
        return self._rulebook.any

    async def begin(self, job: Job, asking: Asking) -> Passing | None:
        """Judge what is asked; None where the call has no guardrails to pass. Changes the request where it must be."""
        rules = () if job.judging else self._rulebook.find(job.caller, job.model)
        if not rules:
            return None
        if isinstance(job.request, TensorRequest):
            _refuse_texts(job.request)
            return None
        passing = Passing(rules, _about(job, asking))
        job.found = passing.found
        if passing.judges("input"):
            await _judge_request(job, passing)
        return passing

    async def reply(self, job: Job, passing: Passing, reply: Reply) -> Reply:
        """A whole answer as it may be given."""
        if not passing.judges("output"):
            return reply
        if job.request.task == "transcription":
            return await judge_transcript(job, passing, reply)
        if job.request.task not in _CHATS:
            return reply
        result = _result_of(job, reply)
        passages = answered(result)
        job.streamed = sum(len(passage.text) for passage in passages)
        texts = await passing.check("output", passages)
        if texts is None:
            return reply
        return msgspec.structs.replace(reply, body=None, result=with_answered(result, texts))

    async def words(self, passing: Passing, words: list[str]) -> list[str]:
        """Words of an answer that an error tells, as they may be told."""
        if not passing.judges("output"):
            return words
        told = await passing.check("output", [Passage(text, role="assistant") for text in words])
        return words if told is None else told

    def stream(self, job: Job, passing: Passing) -> "GuardedStream | GuardedTranscript | None":
        """What a streamed answer goes through; None where nobody judges it."""
        if not passing.judges("output"):
            return None
        if job.request.task == "transcription":
            return GuardedTranscript(job, passing)
        return GuardedStream(job, passing.stream()) if job.request.task in _CHATS else None


class GuardedStream:
    """A stream as it may be given: in canonical form, for the caller's dialect to write."""

    def __init__(self, job: Job, guard: StreamGuard) -> None:
        self._job = job
        self._guard = guard
        make = CompletionReader if _is_legacy(job) else STREAMS.get(job.request.dialect)
        self._reader = None if make is None else CanonicalStream(make())

    async def pass_on(self, batch: Sequence[StreamEvent]) -> list[StreamEvent]:
        """What to send on for some events. GuardrailBlocked or GuardrailFailed when nothing more may be sent."""
        deltas: list[Delta] = []
        for event in batch:
            deltas += event.deltas or self._read(event)
        seen = sum(event.size for event in batch)
        ended = bool(batch) and batch[-1].end
        try:
            ready = await self._guard.pass_on(deltas, end=ended)
        except PolyforgeError:
            # What was made and held back is paid for too.
            self._job.streamed += max(1, seen)
            raise
        usage = next((event.usage for event in reversed(batch) if event.usage is not None), None)
        if not ready and not ended and usage is None:
            self._job.streamed += seen
            return []
        passed = event_of_deltas(ready, end=ended)
        finish = next((event.finish for event in batch if event.finish is not None), None)
        return [msgspec.structs.replace(passed, usage=usage, finish=finish, size=seen)]

    def _read(self, event: StreamEvent) -> Sequence[Delta]:
        """The deltas in a frame of the caller's own dialect."""
        if not event.frame:
            return ()
        if self._reader is None:
            raise GuardrailFailed("the provider's stream cannot be judged in this dialect")
        found = [delta for read in self._reader.feed(event.frame) for delta in read.deltas]
        if self._reader.failure is not None:
            raise self._reader.failure
        return found


def _is_legacy(job: Job) -> bool:
    """Whether it is one of OpenAI's legacy completions, whose bodies have a form of their own."""
    return job.request.task == "completion" and job.request.dialect == "openai"


def _about(job: Job, asking: Asking) -> About:
    caller, request = job.caller, job.request
    return About(
        job.id,
        request.model,
        caller.organization_id,
        caller.project_id,
        caller.key_id,
        request.end_user,
        job.tags,
        asking.models(asker_of(job, judging=True)),
    )


def _refuse_texts(request: TensorRequest) -> None:
    """What nobody can judge does not go through; numbers alone there is nothing to say of."""
    if not request.operation.startswith("infer") or oip.holds_texts(request.body, request.header_length):
        raise Unsupported(
            "this model has guardrails, which cannot judge texts in tensors; call it by another of its paths",
            param="inputs",
        )


async def _judge_request(job: Job, passing: Passing) -> None:
    """Replaces the body by one that may go on, and the canonical form where the body cannot be changed in place."""
    chat = None if job.read_chat is None or _is_legacy(job) else job.read_chat(job.request.body)
    passages = _other_texts(job) if chat is None else [*asked(chat), *_asides_of(chat)]
    texts = await passing.check("input", passages)
    if texts is None:
        return
    request, changes = job.request, dict(zip(texts_of(passages), texts, strict=True))
    job.request = msgspec.structs.replace(request, body=_rewritten(request.body, changes))
    if isinstance(request.inputs, list):
        job.request.inputs = cast(Any, [changes.get(cast(Any, text), text) for text in request.inputs])
    if chat is None or job.read_chat is None:
        return
    rewritten, wanted = job.read_chat(job.request.body), texts[: len(asked(chat))]
    if texts_of(asked(rewritten)) != wanted:
        job.chat = msgspec.structs.replace(with_asked(chat, wanted), others=rewritten.others)
        job.canonical = True


def _asides_of(chat: ChatRequest) -> list[Passage]:
    return _asides({name: _decode_any(chat.others[name]) for name in _ASIDES if name in chat.others}, _ASIDES)


def _asides(fields: Mapping[str, Any], names: Sequence[str]) -> list[Passage]:
    return [Passage(text, "name", "developer") for name in names for text in _texts_in(fields.get(name), every=True)]


def _other_texts(job: Job) -> list[Passage]:
    """The texts of a task that is no chat."""
    body = job.request.body
    if is_form(body):
        form = read_form(body)
        found = [form.text(name) for name in _TEXT_FIELDS if not form.files(name)]
        return [Passage(text) for text in found if text is not None]
    if not body.lstrip().startswith(b"{"):
        return []
    fields = _decode(body)
    if any(_has_tokens(fields.get(name)) for name in _TOKENISED):
        raise Unsupported(
            "guardrails cannot judge tokens; send texts", param="input" if "input" in fields else "prompt"
        )
    texts = [Passage(text) for name in _TEXT_FIELDS for text in _texts_in(fields.get(name), every=False)]
    return [*texts, *_asides(fields, ("user", *_ASIDES))]


def _has_tokens(value: Any) -> bool:
    """Whether a text, or one of several, is given by the numbers of its tokens."""
    if isinstance(value, list):
        return any(_has_tokens(item) for item in cast(list[Any], value))
    return isinstance(value, int)


def _texts_in(value: Any, *, every: bool) -> Iterator[str]:
    """The texts in a field; of an object those in fields of texts alone, unless it is `every` one of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in cast(list[Any], value):
            yield from _texts_in(item, every=every)
    elif isinstance(value, dict):
        fields = cast(dict[str, Any], value)
        for name, item in fields.items():
            is_text = name in _INNER_FIELDS or (name == "data" and fields.get("type") == "text")
            if every or is_text or not isinstance(item, str):
                yield from _texts_in(item, every=every or name == "input")


def _rewritten(body: bytes, changes: Mapping[str, str]) -> bytes:
    if not is_form(body):
        return with_texts(body, changes)
    for name in _TEXT_FIELDS:
        form = read_form(body)
        if not form.files(name) and (text := form.text(name)) is not None:
            body = form.with_text(name, changes.get(text, text))
    return body


def _result_of(job: Job, reply: Reply) -> ChatResult:
    if isinstance(reply.result, ChatResult):
        return reply.result
    read = completions.read_reply if _is_legacy(job) else BODIES.get(job.request.dialect)
    if reply.body is None or read is None or job.request.task not in _CHATS:
        raise GuardrailFailed("the provider's answer cannot be judged in this dialect")
    return read(bytes(reply.body))


def is_judgement(error: PolyforgeError) -> bool:
    """Whether an error is a guardrail's, and says nothing of who answered."""
    return isinstance(error, GuardrailBlocked | GuardrailFailed)
