"""What becomes of an answer that is found."""

import struct
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from polyforge.adapters.caches.memory import MemoryCache, Settings
from polyforge.gateway.caching import service
from polyforge.gateway.caching.agreement import facts_of
from polyforge.gateway.caching.keys import LARGE, rewritten_key
from polyforge.gateway.caching.lookup import Lookup
from polyforge.gateway.caching.semantic import Question, SemanticIndex
from polyforge.gateway.caching.service import AnswerCache
from polyforge.gateway.recorded import Recorded, encode_recorded
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.tasks import InferenceRequest
from polyforge.registry.caching import CacheRules
from polyforge.tenancy.callers import Caller, KeyLimits
from polyforge.wiring.caching import load_likeness

CLOCK = FakeClock()
RULES = CacheRules(True, 60.0, 60.0, "project", 1.0, None)
NO_EMBED: Any = None


def kept(cache: MemoryCache, recorded: Recorded) -> Lookup:
    cache.put("k", encode_recorded(recorded), 60.0)
    return Lookup(RULES, "use", 60.0, key="k")


def job(body: bytes = b"{}", budget: int | None = None, measures: tuple[str, ...] = (), lookup: Any = None) -> Any:
    request = InferenceRequest("chat", "openai", "m", body)
    takes = [SimpleNamespace(counter=SimpleNamespace(measure=measure)) for measure in measures]
    caller = Caller("k", "k", "o", "p", frozenset(), limits=KeyLimits(budget=budget))
    about: dict[str, Any] = {"canonical": False, "headers": {}, "wish": None, "deadline": 9e9}
    return SimpleNamespace(request=request, takes=takes, lane=None, caller=caller, reserved=30, price=0, **about)


@pytest.mark.parametrize(
    ("budget", "measures", "price"), [(None, (), 100), (1000, (), 30), (None, ("requests", "money"), 30)]
)
async def test_a_hit_is_charged_no_more_than_was_reserved_of_what_counts_it(
    budget: int | None, measures: tuple[str, ...], price: int
) -> None:
    cache = MemoryCache(Settings(), CLOCK)
    asked = job(budget=budget, measures=measures)
    lookup = kept(cache, Recorded("body", "chat", "openai", 0.0, b"{}", price=100))
    lookup.body = asked.request.body
    assert await AnswerCache(cache, 1024, CLOCK, load_likeness).reply(asked, lookup, NO_EMBED) is not None
    assert asked.price == price


async def test_an_answer_of_another_version_is_a_miss() -> None:
    cache = MemoryCache(Settings(), CLOCK)
    lookup = kept(cache, Recorded("chat", "chat", "openai", 0.0, b'{"no": "chat of ours"}'))
    asked = job()
    lookup.body = asked.request.body
    assert await AnswerCache(cache, 1024, CLOCK, load_likeness).reply(asked, lookup, NO_EMBED) is None
    assert lookup.outcome == "miss"


async def test_a_large_body_that_was_rewritten_is_hashed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def noted(*given: Any) -> str | None:
        threads.append(threading.get_ident())
        return rewritten_key(*given)

    monkeypatch.setattr(service, "rewritten_key", noted)
    cache = AnswerCache(MemoryCache(Settings(), CLOCK), 1024, CLOCK, load_likeness)
    for size in (1, LARGE):
        lookup = Lookup(RULES, "use", 60.0, key="k")
        assert await cache.reply(job(b'{"a":"' + b"x" * size + b'"}'), lookup, NO_EMBED) is None
    assert [thread == threading.get_ident() for thread in threads] == [True, False]


def test_conversations_of_one_question_take_no_room_for_more() -> None:
    index, vector = SemanticIndex(load_likeness()), struct.pack("<4f", 0.5, 0.5, 0.5, 0.5)
    for number in range(10):
        index.add(Question(f"p{number}", "t", facts_of("t")), vector, "k", 100)
    assert index.nbytes == 10 * len(vector)
