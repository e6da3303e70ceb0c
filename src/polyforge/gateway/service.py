"""The gateway: takes a decoded request through admission, routing, dispatch and settlement."""

from time import perf_counter_ns

import msgspec
from typing_extensions import AsyncGenerator

from polyforge.dialects.writing import ChargedWriter, StreamWriter
from polyforge.gateway.admission import Admission
from polyforge.gateway.asking import Asking
from polyforge.gateway.caching.embedding import Embedding
from polyforge.gateway.caching.service import AnswerCache
from polyforge.gateway.dispatch import Dispatch
from polyforge.gateway.guarding.hop import Guarding, is_judgement
from polyforge.gateway.job import Examine, Job, Rejected
from polyforge.gateway.routing import Plan
from polyforge.gateway.settlement import Settlement, estimate
from polyforge.guardrails.passing import Passing
from polyforge.kernel.chat import ChatResult, Fault
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import InvalidModelOutput, PolyforgeError, UpstreamFailed
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Reply, StreamEvent
from polyforge.registry.catalog import Catalog

CLIENT_CLOSED = 499
_OK = 200
_BROKEN = 500
_REFUSED = 400


Frames = tuple[bytes, bool]
"""A piece of a streamed answer, ready to send, and whether it is the last."""


class Gateway:
    """Answers jobs. Every job that `admit` let in is settled, however `complete` or `stream` end."""

    def __init__(
        self,
        admission: Admission,
        guarding: Guarding,
        cache: AnswerCache,
        dispatch: Dispatch,
        settlement: Settlement,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._admission = admission
        self._guarding = guarding
        self._cache = cache
        self._dispatch = dispatch
        self._settlement = settlement
        self.asking = Asking(self.complete, catalog, clock)
        """Asks models beside a call."""
        self._embed = Embedding(self.asking).embed

    async def complete(self, job: Job) -> Reply:
        """The whole answer. Its usage record is written when this returns."""
        await self._admission.admit(job)
        _enter(job)
        usage: Usage | None = None
        try:
            if job.ceilings:
                await self._admission.lend_ceilings(job)
            passing = await self._guard(job) if self._guarding.any else None
            lookup = job.lookup
            if lookup is not None and not self._cache.misses(job, lookup):
                kept = await self._cache.reply(job, lookup, self._embed)
                if kept is not None:
                    reply = kept if passing is None else await self._guarding.reply(job, passing, kept)
                    self._settle_kept(job, kept.usage)
                    return reply
            made = reply = await self._dispatch.send(job, self._route(job))
            if job.examine is not None:
                made = reply = await self._improve(job, reply, job.examine, passing)
            usage = reply.usage
            if passing is not None:
                reply = await self._guarding.reply(job, passing, made)
            job.hops.marks.append(perf_counter_ns())
            self._settlement.settle(job, "ok", usage, http_status=_OK)
            if lookup is not None:
                self._cache.keep_reply(job, lookup, made)
        except PolyforgeError as error:
            self._settlement.settle(job, "error", usage, http_status=error.status, error=error.code)
            raise
        except Exception:
            self._settlement.settle(job, "error", usage, http_status=_BROKEN, error=PolyforgeError.code)
            raise
        finally:
            self._settlement.settle(job, "cancelled", usage, http_status=CLIENT_CLOSED)
            if job.lookup is not None:
                self._cache.leave(job, job.lookup)
        return reply

    async def _improve(self, job: Job, reply: Reply, examine: Examine, passing: Passing | None) -> Reply:
        """The answer when it holds, or else one that was asked for again; InvalidModelOutput when none does."""
        for left in reversed(range(job.request.tries)):
            fault = _examine(job, reply, examine)
            if fault is None:
                return reply
            if left == 0 or not fault.turns:
                said = [fault.reason, fault.said]
                reason, output = said if passing is None else await self._guarding.words(passing, said)
                raise InvalidModelOutput(f"the model's answer will not do: {reason}", output=output)
            _ask_again(job, fault)
            reply = await self._dispatch.send(job, self._dispatch.route(job))
        raise AssertionError("the last try either returns or raises")

    async def stream(self, job: Job) -> AsyncGenerator[Frames]:
        """The answer as it comes. Its usage record is written before the last frames are given out."""
        await self._admission.admit(job)
        _enter(job)
        relay = _Relay(job)
        events: AsyncGenerator[list[StreamEvent]] | None = None
        try:
            if job.ceilings:
                await self._admission.lend_ceilings(job)
            passing = await self._guard(job) if self._guarding.any else None
            guarded = None if passing is None else self._guarding.stream(job, passing)
            if job.lookup is not None and (kept := await self._cache.events(job, job.lookup, self._embed)) is not None:
                yield self._relay_kept(job, relay, kept if guarded is None else await guarded.pass_on(kept)), True
                return
            first, events = await self._dispatch.stream(job, self._route(job))
            shown = first if guarded is None else await guarded.pass_on(first)
            if (data := self._relay(job, relay, first, shown)) or relay.ended:
                yield data, relay.ended
            async for batch in events:
                shown = batch if guarded is None else await guarded.pass_on(batch)
                if (data := self._relay(job, relay, batch, shown)) or relay.ended:
                    yield data, relay.ended
        except PolyforgeError as error:
            if events is not None and not is_judgement(error):
                self._dispatch.broke(job, error)
            self._settlement.settle(job, "error", relay.usage, http_status=error.status, error=error.code)
            raise
        except Exception:
            self._settlement.settle(job, "error", relay.usage, http_status=_BROKEN, error=PolyforgeError.code)
            raise
        finally:
            self._settlement.settle(job, "cancelled", relay.usage, http_status=CLIENT_CLOSED)
            if events is not None:
                await events.aclose()

    async def _guard(self, job: Job) -> Passing | None:
        """Hop 5: what is asked is judged, and its time is the hop's, whatever comes of it."""
        try:
            return await self._guarding.begin(job, self.asking)
        finally:
            job.hops.marks[-1] = perf_counter_ns()

    def _relay(self, job: Job, relay: "_Relay", batch: list[StreamEvent], shown: list[StreamEvent]) -> bytes:
        """The bytes to send on for what is to be `shown` of a batch; the job is settled before the last of them."""
        lookup = job.lookup
        if lookup is not None and lookup.recording is not None:
            lookup.recording.add(batch)
        data = relay.read(shown)
        if relay.ended and not job.settled:
            job.hops.marks.append(perf_counter_ns())
            self._settlement.settle(job, "ok", relay.usage, http_status=_OK)
            if lookup is not None:
                self._cache.keep_stream(job, lookup, relay.usage)
        return data + relay.end() if relay.ended else data

    def _relay_kept(self, job: Job, relay: "_Relay", events: list[StreamEvent]) -> bytes:
        """All of a stream that is given again."""
        job.media_type = events[0].media_type
        data = relay.read(events)
        self._settle_kept(job, relay.usage)
        return data + relay.end()

    def settle_again(self, job: Job, status: int) -> None:
        """A job whose answer was kept under its key went through no hop: it is written down, and costs nothing."""
        job.cached = "idempotent"
        job.hops.marks += (perf_counter_ns(),) * 4
        self._settlement.settle(job, "ok" if status < _REFUSED else "error", None, http_status=status)

    def _settle_kept(self, job: Job, usage: Usage | None) -> None:
        """An answer that was kept goes through neither routing nor dispatch."""
        now = perf_counter_ns()
        job.hops.marks[-1] = now
        job.hops.marks += (now, now)
        self._settlement.settle(job, "ok", usage, http_status=_OK)

    def _route(self, job: Job) -> Plan:
        """The attempts to make, where no answer was kept."""
        marks = job.hops.marks
        if job.lookup is not None:
            marks[-1] = perf_counter_ns()
        found = self._dispatch.route(job)
        marks.append(perf_counter_ns())
        return found


def _enter(job: Job) -> None:
    """Admission is over; so are guardrails, where there are none."""
    now = perf_counter_ns()
    job.hops.marks += (now, now)


class _Relay:
    """What of a stream goes on to the caller: all of it, but usage only to those who asked, once, before the end."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._wants_usage = job.request.wants_usage
        self._usage_frame = b""
        self._writer: StreamWriter | None = None
        self.usage: Usage | None = None
        self.ended = False

    def read(self, batch: list[StreamEvent]) -> bytes:
        """The bytes to send for these events."""
        if len(batch) == 1 and (event := batch[0]).frame and not event.usage_only and not event.end:
            self._note(event)
            return event.frame
        return b"".join([self._frame(event) for event in batch])

    def _frame(self, event: StreamEvent) -> bytes:
        self._note(event)
        if event.usage_only:
            if self._wants_usage and event.usage is not None:
                self._usage_frame = event.frame
            return b""
        if event.end:
            self.ended = True
        if event.deltas or (event.end and not event.frame and not event.media_type):
            return self._write(event)
        return self._usage_frame + event.frame if event.end else event.frame

    def _write(self, event: StreamEvent) -> bytes:
        """A canonical event in the caller's dialect."""
        writer = self._writer = self._writer or _open_writer(self._job)
        return writer.write(event.deltas)

    def end(self) -> bytes:
        """What the caller's dialect says after the last event, once the job is settled; what passed has its own end."""
        writer, job = self._writer, self._job
        if writer is None:
            return b""
        if isinstance(writer, ChargedWriter):
            writer.charge(job.usage, job.price)
        return writer.end(self.usage)

    def _note(self, event: StreamEvent) -> None:
        self._job.streamed += event.size
        if event.usage is not None:
            self.usage = event.usage


def _examine(job: Job, reply: Reply, examine: Examine) -> Fault | None:
    """What is wrong with an answer; one that will not do is written down, because it costs something."""
    if not isinstance(reply.result, ChatResult):
        raise UpstreamFailed("the provider's answer cannot be examined")
    fault = examine(job.request.body, reply.result)
    if fault is not None:
        usage = reply.usage or estimate(job, len(fault.said))
        job.rejected.append(Rejected(job.attempts[-1].deployment, usage))
    return fault


def _ask_again(job: Job, fault: Fault) -> None:
    """Add to the conversation what was wrong with the last answer."""
    if job.chat is not None:
        job.chat = msgspec.structs.replace(job.chat, messages=[*job.chat.messages, *fault.turns])


def _open_writer(job: Job) -> StreamWriter:
    if job.open_writer is None:
        raise UpstreamFailed("the provider's stream cannot be written in this dialect")
    writer = job.writer = job.open_writer(job)
    return writer
