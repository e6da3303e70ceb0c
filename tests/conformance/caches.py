"""What every cache must do: one suite, run against each adapter."""

import asyncio
import os

import pytest

from polyforge.ports.cache import Cache
from tests.support.waiting import DEADLINE

LONG = 600.0


class CacheSuite:
    """Subclass it with the fixture `cache`, which is open, empty, and has room for some MB."""

    async def test_it_gives_back_what_was_put_there_last(self, cache: Cache) -> None:
        value = os.urandom(1000) + b"\r\n\x00$-1\r\n"
        assert await cache.get("project:model:a") is None
        cache.put("project:model:a", value, LONG)
        assert await cache.get("project:model:a") == value
        cache.put("project:model:a", b"later", LONG)
        assert await cache.get("project:model:a") == b"later"
        assert await cache.get("project:model:A") is None
        assert await cache.get("project:model") is None

    async def test_a_value_may_be_empty_and_may_be_large(self, cache: Cache) -> None:
        large = os.urandom(1024 * 1024)
        cache.put("p:empty", b"", LONG)
        cache.put("p:large", large, LONG)
        assert await cache.get("p:empty") == b""
        assert await cache.get("p:large") == large

    async def test_a_value_is_gone_when_its_time_is_over(self, cache: Cache) -> None:
        cache.put("p:short", b"short", 0.05)
        cache.put("p:long", b"long", LONG)
        async with asyncio.timeout(DEADLINE):
            while await cache.get("p:short") is not None:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.02)
        assert await cache.get("p:long") == b"long"

    async def test_what_is_deleted_is_gone(self, cache: Cache) -> None:
        cache.put("p:a", b"a", LONG)
        cache.put("p:b", b"b", LONG)
        cache.delete("p:a")
        cache.delete("p:never-there")
        assert await cache.get("p:a") is None
        assert await cache.get("p:b") == b"b"

    async def test_what_it_has_it_may_have(self, cache: Cache) -> None:
        cache.put("p:a", b"a", LONG)
        assert cache.may_have("p:a")
        assert cache.shared or not cache.may_have("p:never-there")

    @pytest.mark.parametrize("count", [1, 2_500])
    async def test_it_clears_what_begins_with_a_prefix_and_nothing_else(self, cache: Cache, count: int) -> None:
        for number in range(count):
            cache.put(f"p*[1]?:m:{number}", b"mine", LONG)
            if number % 500 == 0:
                assert await cache.get(f"p*[1]?:m:{number}") == b"mine"
        cache.put("p*[1]?:n:0", b"another model's", LONG)
        cache.put("pxx[1]?:m:0", b"another project's", LONG)
        assert await cache.get("pxx[1]?:m:0") is not None
        assert await cache.clear("p*[1]?:m:") == count
        assert await cache.get("p*[1]?:m:0") is None
        assert await cache.get(f"p*[1]?:m:{count - 1}") is None
        assert await cache.get("p*[1]?:n:0") == b"another model's"
        assert await cache.get("pxx[1]?:m:0") == b"another project's"
        assert await cache.clear("p*[1]?:m:") == 0

    async def test_many_may_ask_at_once(self, cache: Cache) -> None:
        for number in range(300):
            cache.put(f"p:{number}", str(number).encode(), LONG)
        found = await asyncio.gather(*(cache.get(f"p:{number}") for number in range(350)))
        assert found == [str(number).encode() for number in range(300)] + [None] * 50

    async def test_it_tells_how_it_does(self, cache: Cache) -> None:
        cache.put("p:a", b"a", LONG)
        assert await cache.get("p:a") == b"a"
        found = cache.stats()
        assert found.available
        assert found.failures == 0
        assert found.evicted == 0
        assert found.entries in (None, 1)
        assert found.size is None or found.size > len("p:aa")

    async def test_it_can_be_closed_twice(self, cache: Cache) -> None:
        await cache.close()
        await cache.close()
