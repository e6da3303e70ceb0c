"""Every cache against the suite of its port, and what each does beside."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from polyforge.adapters.caches import memory, redis
from polyforge.kernel.clock import FakeClock, SystemClock
from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.ports.cache import Cache
from polyforge.ports.secret_source import Stop
from tests.conformance.audit_sinks import NoSecrets
from tests.conformance.caches import LONG, CacheSuite
from tests.support.ports import refusing_port
from tests.support.redis import RedisServer
from tests.support.waiting import DEADLINE, eventually_async


class TestMemory(CacheSuite):
    @pytest.fixture
    async def cache(self) -> Cache:
        return memory.MemoryCache(memory.Settings(), SystemClock())


class TestRedis(CacheSuite):
    @pytest.fixture
    async def cache(self, redis_server: RedisServer) -> AsyncIterator[Cache]:
        cache = in_redis(redis_server.url, timeout_seconds=5.0)
        await cache.open(NoSecrets())
        yield cache
        await cache.close()


def in_redis(url: str, **settings: float) -> redis.RedisCache:
    return redis.RedisCache(redis.Settings.model_validate({"url": url, **settings}), SystemClock())


# --- memory ---


def small(max_bytes: int = 64 * 1024, max_entries: int = 100) -> tuple[memory.MemoryCache, FakeClock]:
    clock = FakeClock()
    return memory.MemoryCache(memory.Settings(max_bytes=max_bytes, max_entries=max_entries), clock), clock


async def test_memory_keeps_within_its_bytes_and_entries() -> None:
    by_bytes, _ = small(max_entries=100_000)
    by_entries, _ = small()
    for number in range(2_000):
        by_bytes.put(f"p:{number}", os.urandom(number % 5_000), LONG)
        by_entries.put(f"p:{number}", b"", LONG)
        assert (by_bytes.stats().size or 0) <= 64 * 1024
        assert (by_entries.stats().entries or 0) <= 100
    assert by_entries.stats().entries == 100
    assert by_entries.stats().evicted == 1_900


async def test_memory_counts_its_bytes_right_whatever_comes_and_goes() -> None:
    cache, clock = small(max_bytes=256 * 1024)
    for number in range(5_000):
        key = f"p:{number * 7919 % 300}"
        if number % 3:
            cache.put(key, b"x" * (number % 900), 10.0 + number % 50)
        elif number % 2:
            await cache.get(key)
        else:
            cache.delete(key)
        clock.advance(0.1)
    await cache.clear("p:")
    assert (cache.stats().entries, cache.stats().size) == (0, 0)


async def test_what_is_asked_for_again_outlasts_a_flood_that_nobody_repeats() -> None:
    cache, _ = small()
    for number in range(20):
        cache.put(f"p:often-{number}", b"often", LONG)
    for flood in range(2_000):
        cache.put(f"p:once-{flood}", b"once", LONG)
        if flood % 10 == 0:
            for number in range(20):
                await cache.get(f"p:often-{number}")
    assert [await cache.get(f"p:often-{number}") for number in range(20)] == [b"often"] * 20


async def test_memory_finds_no_room_for_what_would_drive_out_too_much() -> None:
    cache, _ = small()
    cache.put("p:small", b"small", LONG)
    cache.put("p:huge", b"x" * 64 * 1024, LONG)
    assert await cache.get("p:huge") is None
    assert await cache.get("p:small") == b"small"
    assert cache.stats().evicted == 1


async def test_a_larger_value_that_finds_no_room_replaces_what_was_there() -> None:
    cache, _ = small()
    cache.put("p:a", b"old", LONG)
    cache.put("p:a", b"x" * 64 * 1024, LONG)
    assert await cache.get("p:a") is None


async def test_memory_remembers_nothing_of_what_was_replaced_and_deleted() -> None:
    cache, _ = small()
    for number in range(5_000):
        cache.put("p:again", b"%d" % number, LONG)
        cache.put(f"p:{number}", b"x", LONG)
        cache.delete(f"p:{number}")
    assert cache.stats().entries == 1
    assert len(cache._small) + len(cache._main) + len(cache._ghosts) < 1_000
    assert await cache.get("p:again") == b"4999"


async def test_memory_remembers_little_of_what_comes_and_goes_in_turn() -> None:
    cache, clock = small()
    for number in range(20_000):
        key = f"p:{number % 130}"
        cache.put(key, b"x" * (number % 50), 5.0 + number % 7)
        if number % 11 == 0:
            await cache.get(f"p:{number % 17}")
        clock.advance(0.01)
    assert cache.stats().entries == 100
    assert len(cache._small) + len(cache._main) + len(cache._ghosts) < 1_000
    await cache.clear("p:")
    assert (cache.stats().entries, cache.stats().size, cache._small_size) == (0, 0, 0)


async def test_what_comes_again_soon_after_it_made_room_outlasts_a_flood() -> None:
    cache, _ = small()
    cache.put("p:again", b"again", LONG)
    for number in range(150):
        cache.put(f"p:before-{number}", b"once", LONG)
    assert await cache.get("p:again") is None
    cache.put("p:again", b"again", LONG)
    for number in range(1_000):
        cache.put(f"p:once-{number}", b"once", LONG)
    assert await cache.get("p:again") == b"again"


async def test_memory_lets_go_of_what_expired_when_somebody_asks() -> None:
    cache, clock = small()
    cache.put("p:a", b"a", 10.0)
    clock.advance(9.9)
    assert await cache.get("p:a") == b"a"
    clock.advance(0.1)
    assert await cache.get("p:a") is None
    assert cache.stats().size == 0


# --- Redis ---


async def test_what_one_gateway_keeps_another_finds(redis_server: RedisServer) -> None:
    one, other = (in_redis(redis_server.url, timeout_seconds=5.0) for _ in range(2))
    await one.open(NoSecrets())
    await other.open(NoSecrets())
    one.put("p:a", b"a", LONG)
    assert await one.get("p:a") == b"a"
    assert await other.get("p:a") == b"a"
    assert redis_server.command("KEYS", "*") == "polyforge:cache:p:a"
    assert 0 < int(redis_server.command("PTTL", "polyforge:cache:p:a")) <= LONG * 1000
    await one.close()
    await other.close()


async def test_a_redis_that_is_not_there_is_a_miss_and_is_soon_left_alone() -> None:
    with refusing_port() as port:
        cache = in_redis(f"redis://127.0.0.1:{port}/0", timeout_seconds=1.0)
        await cache.open(NoSecrets())
        for _ in range(3):
            cache.put("p:a", b"a", LONG)
            assert await cache.get("p:a") is None
        await eventually_async(lambda: not cache.stats().available, "the breaker")
        failures = cache.stats().failures
        for _ in range(1_000):
            assert await cache.get("p:a") is None
        assert cache.stats().failures == failures
        with pytest.raises(Unavailable):
            await cache.clear("p:")
        await cache.close()


async def test_a_redis_that_hangs_holds_nobody_up_and_is_used_again_when_it_goes_on(redis_server: RedisServer) -> None:
    cache = in_redis(redis_server.url, timeout_seconds=0.05)
    await cache.open(NoSecrets())
    cache.put("p:a", b"a", LONG)
    await found(cache, "p:a")
    redis_server.pause()
    async with asyncio.timeout(DEADLINE):
        while cache.stats().available:
            assert await cache.get("p:a") is None
    redis_server.go_on()
    await found(cache, "p:a")
    await cache.close()


async def test_a_redis_that_was_started_again_is_used_again(redis_server: RedisServer) -> None:
    cache = in_redis(redis_server.url, timeout_seconds=5.0)
    await cache.open(NoSecrets())
    cache.put("p:a", b"a", LONG)
    await found(cache, "p:a")
    redis_server.kill()
    assert await cache.get("p:a") is None
    redis_server.start()
    async with asyncio.timeout(DEADLINE):
        while await cache.get("p:b") is None:
            cache.put("p:b", b"b", LONG)
            await asyncio.sleep(0.02)
    await cache.close()


async def test_a_full_redis_keeps_nothing_but_still_finds(redis_server: RedisServer) -> None:
    cache = in_redis(redis_server.url, timeout_seconds=5.0)
    await cache.open(NoSecrets())
    cache.put("p:a", b"a", LONG)
    assert await cache.get("p:a") == b"a"
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    for _ in range(10):
        cache.put("p:b", b"b", LONG)
        assert await cache.get("p:a") == b"a"
    assert await cache.get("p:b") is None
    assert cache.stats().available
    assert cache.stats().failures == 10
    await cache.close()


class Vault:
    """One secret that can change."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.changed = lambda: None

    def value(self, name: str) -> Hidden:
        assert name == "redis"
        return Hidden(self.url)

    def watch(self, name: str, changed: Stop) -> Stop:
        self.changed = changed
        return lambda: None


async def test_an_address_that_is_a_secret_is_followed(redis_server: RedisServer) -> None:
    vault = Vault(f"{redis_server.url[:-1]}1")
    cache = in_redis("secret:redis", timeout_seconds=5.0)
    await cache.open(vault)
    cache.put("p:a", b"a", LONG)
    assert await cache.get("p:a") == b"a"
    vault.url = redis_server.url
    vault.changed()
    assert await cache.get("p:a") is None
    await cache.close()


def test_an_address_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="must begin with redis://") as refused:
        in_redis("https://user:sesame@example.com")
    assert "sesame" not in refused.value.message
    for url in ("redis://:sesame@h:70000x/0", "redis://:sesame@h/0?socket_timeout=sesame"):
        with pytest.raises(SettingsError, match="cannot be") as refused:
            in_redis(url)
        assert "sesame" not in refused.value.message


async def test_a_secret_that_is_no_address_is_a_miss_until_it_is_one() -> None:
    vault = Vault("redis://h:70000x/0")
    cache = in_redis("secret:redis", timeout_seconds=5.0)
    await cache.open(vault)
    for _ in range(3):
        assert await cache.get("p:a") is None
    assert not cache.stats().available
    with refusing_port() as port:
        vault.url = f"redis://127.0.0.1:{port}/0"
        vault.changed()
        failures = cache.stats().failures
        assert await cache.get("p:a") is None
        assert cache.stats().failures > failures
    await cache.close()


async def found(cache: Cache, key: str) -> None:
    """Until the cache finds a key."""
    async with asyncio.timeout(DEADLINE):
        while await cache.get(key) is None:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
