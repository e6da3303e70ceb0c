"""Answers of models that have a cache: looked up before routing, kept after settlement."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter_ns
from typing import Final

from polyforge.gateway.caching.keys import LARGE, exact_key, rewritten_key
from polyforge.gateway.caching.lookup import Lookup, read_lookup
from polyforge.gateway.caching.questions import question_of
from polyforge.gateway.caching.semantic import SemanticIndex
from polyforge.gateway.caching.turns import Turns
from polyforge.gateway.job import Job
from polyforge.gateway.recorded import Recorded, Recording, decode_recorded, encode_recorded, record_reply
from polyforge.kernel.clock import Clock
from polyforge.kernel.usage import Usage
from polyforge.ports.cache import Cache
from polyforge.ports.likeness import Likeness, Vector
from polyforge.ports.provider import Reply, StreamEvent
from polyforge.registry.caching import CacheRules, SemanticCacheSettings

_CUT: Final = frozenset({"length", "max_tokens", "incomplete"})
_NOT_KEPT: Final = frozenset({"content_filter", "refusal", "pause", "pause_turn", "error"})
"""Ends of answers that another attempt might not have, or that are to be gone on with."""
_ANSWERED: Final = frozenset({"chat", "completion"})
"""Tasks whose answers say how they ended."""
_WAITING_SHARE: Final = 0.5
"""Of the time that is left to a request, for another's answer: the rest is for its own."""

MakeKey = Callable[[Job, CacheRules, str], str | None]
Embed = Callable[[Job, str, str], Awaitable[Vector | None]]
"""Has a model embed a text for a job."""
LoadLikeness = Callable[[], Callable[[], Likeness]]
"""Loads what compares vectors, which takes a while and memory, and gives what makes one."""


class AnswerCache:
    """What is kept of one installation's answers, as one gateway worker sees it."""

    def __init__(self, cache: Cache, max_entry_bytes: int, clock: Clock, load_likeness: LoadLikeness) -> None:
        self._cache = cache
        self._max_entry_bytes = max_entry_bytes
        self._clock = clock
        self._load_likeness = load_likeness
        self._questions: SemanticIndex | None = None
        self._turns = Turns()

    def prepare(self, job: Job, rules: CacheRules, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Note on the job what it wants of the cache; Invalid names a malformed header."""
        lookup = job.lookup = read_lookup(headers, rules, path, job.request.body)
        if lookup.mode != "bypass" and job.provider_key is None:
            lookup.outcome = "miss"

    def misses(self, job: Job, lookup: Lookup) -> bool:
        """Whether no whole answer is kept, where that is told without waiting; it is then for this job to make.

        False where `reply` has to say.
        """
        body, rules = job.request.body, lookup.rules
        if lookup.outcome != "miss" or rules.semantic is not None or not rules.exact:
            return False
        if job.canonical or body is not lookup.body or len(body) >= LARGE:
            return False
        key = lookup.key = exact_key(job, rules, lookup.path) or ""
        if not key or (lookup.mode == "use" and self._cache.may_have(key)):
            return False
        if lookup.mode == "use":
            lookup.turn = self._turns.begin(key)
        return lookup.turn or lookup.mode == "refresh"

    async def reply(self, job: Job, lookup: Lookup, embed: Embed) -> Reply | None:
        """The whole answer, if one is kept; the job then says where it comes from and what it is charged for."""
        found = await self._find(job, lookup, embed)
        if found is not None and (reply := found.reply(job.request)) is not None:
            self._note_hit(job, lookup, found)
            return reply
        lookup.outcome = "miss" if lookup.key else "bypass"
        return None

    async def events(self, job: Job, lookup: Lookup, embed: Embed) -> list[StreamEvent] | None:
        """The same for a stream, all of it at once. On a miss, the stream is recorded from then on."""
        found = await self._find(job, lookup, embed)
        if found is not None and (events := found.events(job.request)) is not None:
            self._note_hit(job, lookup, found)
            return events
        lookup.outcome = "miss" if lookup.key else "bypass"
        if lookup.key:
            lookup.recording = Recording(self._max_entry_bytes)
        return None

    def keep_reply(self, job: Job, lookup: Lookup, reply: Reply) -> None:
        """Keep a whole answer, if it is one to be given again."""
        if lookup.key and _is_final(job, reply.finish):
            at = self._clock.now()
            recorded = record_reply(job.request, reply, at, self._max_entry_bytes, job.cost, job.price)
            if recorded is not None:
                self._keep(lookup, recorded)

    def keep_stream(self, job: Job, lookup: Lookup, usage: Usage | None) -> None:
        """Keep a stream that came to its end."""
        recording, lookup.recording = lookup.recording, None
        recorded = None if recording is None else recording.recorded(job.request, usage, self._clock.now())
        if recorded is not None and _is_final(job, recorded.finish):
            self._keep(lookup, recorded.priced(job.cost, job.price))

    def leave(self, job: Job, lookup: Lookup) -> None:
        """A whole answer was made, or was not: who waits for it goes on."""
        if lookup.turn:
            lookup.turn = False
            self._turns.end(lookup.key, through=job.status != "cancelled")

    async def _find(self, job: Job, lookup: Lookup, embed: Embed) -> Recorded | None:
        """What is kept for a request, and in `outcome` how it was found."""
        if lookup.outcome == "miss" or lookup.key:
            await self._name(job, lookup)
        if not lookup.key:
            return None
        found = None
        if lookup.mode == "use" and lookup.rules.exact:
            data = await self._cache.get(lookup.key)
            if data is not None:
                found = decode_recorded(data)
            if found is None and not job.request.stream:
                lookup.turn = self._turns.begin(lookup.key)
                if not lookup.turn:
                    found = await self._made_meanwhile(job, lookup)
            if found is not None:
                lookup.outcome = "hit"
                return found
        if lookup.rules.semantic is not None:
            found = await self._alike(job, lookup, lookup.rules.semantic, embed)
            lookup.outcome = "semantic"
        return found

    async def _name(self, job: Job, lookup: Lookup) -> None:
        """Say under which key the answer is kept, if nobody has; what guardrails rewrote has another one."""
        if job.canonical or job.request.body is not lookup.body:
            lookup.key = await _hashed(rewritten_key, job, lookup) or ""
        elif not lookup.key:
            lookup.key = await _hashed(exact_key, job, lookup) or ""

    async def _made_meanwhile(self, job: Job, lookup: Lookup) -> Recorded | None:
        """What another request that is the same was answered, which is waited for; None: it is up to this one."""
        began = perf_counter_ns()
        left = job.deadline - asyncio.get_running_loop().time()
        lookup.turn = await self._turns.take(lookup.key, left * _WAITING_SHARE)
        if lookup.turn:
            return None
        # An upstream took that time, though for another request.
        job.hops.waited += perf_counter_ns() - began
        return await self._kept(lookup.key)

    async def _alike(self, job: Job, lookup: Lookup, settings: SemanticCacheSettings, embed: Embed) -> Recorded | None:
        """The answer to a question that means the same; without one, the question is remembered with its answer."""
        question = question_of(job, lookup.rules, settings)
        vector = None if question is None else await embed(job, settings.model, question.text)
        if question is None or vector is None:
            return None
        lookup.asked = (question, vector)
        if self._questions is None:
            make = await asyncio.to_thread(self._load_likeness)
            self._questions = self._questions or SemanticIndex(make)
        if lookup.mode != "use":
            return None
        for key in self._questions.nearest(question, vector, settings.threshold):
            found = await self._kept(key)
            if found is not None:
                return found
        return None

    async def _kept(self, key: str) -> Recorded | None:
        data = await self._cache.get(key)
        return None if data is None else decode_recorded(data)

    def _note_hit(self, job: Job, lookup: Lookup, found: Recorded) -> None:
        lookup.age = max(0, int(self._clock.now() - found.at))
        job.cached = "exact" if lookup.outcome == "hit" else "semantic"
        job.saved = found.cost
        # What was reserved bounds what is charged, whatever the answer was charged for when it was made.
        price = int(found.price * lookup.rules.price)
        job.price = min(price, job.reserved) if _is_bounded(job) else price

    def _keep(self, lookup: Lookup, recorded: Recorded) -> None:
        self._cache.put(lookup.key, encode_recorded(recorded), lookup.ttl)
        if self._questions is not None and lookup.asked is not None and lookup.rules.semantic is not None:
            self._questions.add(*lookup.asked, lookup.key, lookup.rules.semantic.max_entries)


async def _hashed(make: MakeKey, job: Job, lookup: Lookup) -> str | None:
    """A key of a job; that of a large body is made in a thread."""
    if len(job.request.body) < LARGE:
        return make(job, lookup.rules, lookup.path)
    return await asyncio.to_thread(make, job, lookup.rules, lookup.path)


def _is_bounded(job: Job) -> bool:
    """Whether a budget or a limit on money counts on what was reserved."""
    if job.lane is not None:
        return job.lane.with_money
    return job.caller.limits.budget is not None or any(take.counter.measure == "money" for take in job.takes)


def _is_final(job: Job, finish: str | None) -> bool:
    """Whether an answer ended as it would for everybody; not where a limit that is ours alone cut it off."""
    if finish is None:
        return job.request.task not in _ANSWERED
    return finish not in _NOT_KEPT and not (finish in _CUT and job.output_limit is not None)
