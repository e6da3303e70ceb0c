"""Answers of models that have a cache: looked up before routing, kept after settlement."""

import asyncio
from collections.abc import Mapping
from typing import Final

from polyforge.gateway.caching.keys import LARGE, exact_key
from polyforge.gateway.caching.lookup import Lookup, read_lookup
from polyforge.gateway.job import Job
from polyforge.gateway.recorded import Recorded, Recording, decode_recorded, encode_recorded, record_reply
from polyforge.kernel.clock import Clock
from polyforge.kernel.usage import Usage
from polyforge.ports.cache import Cache
from polyforge.ports.provider import Reply, StreamEvent
from polyforge.registry.caching import CacheRules

_CUT: Final = frozenset({"length", "max_tokens", "incomplete"})
_NOT_KEPT: Final = frozenset({"content_filter", "refusal", "pause", "pause_turn", "error"})
"""Ends of answers that another attempt might not have, or that are to be gone on with."""
_ANSWERED: Final = frozenset({"chat", "completion"})
"""Tasks whose answers say how they ended."""


class AnswerCache:
    """What is kept of one installation's answers, as one gateway worker sees it."""

    def __init__(self, cache: Cache, max_entry_bytes: int, clock: Clock) -> None:
        self._cache = cache
        self._max_entry_bytes = max_entry_bytes
        self._clock = clock

    async def prepare(self, job: Job, rules: CacheRules, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Note on the job what it wants of the cache; Invalid names a malformed header."""
        lookup = job.lookup = read_lookup(headers, rules)
        if lookup.mode == "bypass" or job.provider_key is not None:
            return
        if len(job.request.body) < LARGE:
            key = exact_key(job, rules, path)
        else:
            key = await asyncio.to_thread(exact_key, job, rules, path)
        if key is not None:
            lookup.key, lookup.outcome = key, "miss"

    async def reply(self, job: Job, lookup: Lookup) -> Reply | None:
        """The whole answer, if one is kept; the job then says where it comes from and what it is charged for."""
        found = await self._find(job, lookup)
        reply = None if found is None else found.reply(job.request)
        if found is not None and reply is not None:
            self._note_hit(job, lookup, found)
        return reply

    async def events(self, job: Job, lookup: Lookup) -> list[StreamEvent] | None:
        """The same for a stream, all of it at once. On a miss, the stream is recorded from then on."""
        found = await self._find(job, lookup)
        events = None if found is None else found.events(job.request)
        if found is not None and events is not None:
            self._note_hit(job, lookup, found)
        elif lookup.key:
            lookup.recording = Recording(self._max_entry_bytes)
        return events

    def keep_reply(self, job: Job, lookup: Lookup, reply: Reply) -> None:
        """Keep a whole answer, if it is one to be given again."""
        if lookup.key and _is_final(job, reply.finish):
            self._keep(job, lookup, record_reply(job.request, reply, self._clock.now(), self._max_entry_bytes))

    def keep_stream(self, job: Job, lookup: Lookup, usage: Usage | None) -> None:
        """Keep a stream that came to its end."""
        recording, lookup.recording = lookup.recording, None
        recorded = None if recording is None else recording.recorded(job.request, usage, self._clock.now())
        if recorded is not None and _is_final(job, recorded.finish):
            self._keep(job, lookup, recorded)

    async def _find(self, job: Job, lookup: Lookup) -> Recorded | None:
        if not lookup.key or lookup.mode != "use" or not lookup.rules.exact:
            return None
        return await self._kept(lookup.key)

    async def _kept(self, key: str) -> Recorded | None:
        data = await self._cache.get(key)
        return None if data is None else decode_recorded(data)

    def _note_hit(self, job: Job, lookup: Lookup, found: Recorded) -> None:
        lookup.outcome = "hit"
        lookup.age = max(0, int(self._clock.now() - found.at))
        job.cached = "exact"
        job.saved = found.cost
        # What was reserved bounds what is charged, whatever the answer was charged for when it was made.
        price = int(found.price * lookup.rules.price)
        job.price = price if job.caller.limits.budget is None else min(price, job.reserved)

    def _keep(self, job: Job, lookup: Lookup, recorded: Recorded | None) -> None:
        if recorded is None:
            return
        priced = recorded.priced(job.cost, job.price)
        self._cache.put(lookup.key, encode_recorded(priced), lookup.ttl)


def _is_final(job: Job, finish: str | None) -> bool:
    """Whether an answer ended as it would for everybody; not where a limit that is ours alone cut it off."""
    if finish is None:
        return job.request.task not in _ANSWERED
    return finish not in _NOT_KEPT and not (finish in _CUT and job.output_limit is not None)
