"""What every store of objects must do: one suite, run against each adapter."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest

from polyforge.kernel.errors import Invalid, NotFound
from polyforge.ports.objects import ObjectStore

LARGE = 21 * 1024 * 1024
"""More than goes up in one request or two parts."""
NOT_KEYS = [
    "",
    "alone",
    "/p/a",
    "p/",
    "p//a",
    "p/../a",
    "p/..",
    "../p/a",
    "p/a/..b",
    "p/.hidden",
    "p/a b",
    "p/a+b",
    "p/a\0",
    "p/a\n",
    "p\\a/b",
    "p/é",
    "p/" + "a" * 200,
]


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    """Content as it comes."""
    for piece in content:
        yield piece


async def whole(store: ObjectStore, key: str, first: int = 0, count: int | None = None) -> bytes:
    """What is read of an object."""
    return b"".join([piece async for piece in store.get(key, first, count)])


async def keys(store: ObjectStore, prefix: str) -> list[str]:
    return [facts.key async for facts in store.list(prefix)]


class Broke(Exception):
    """What an upload ends with."""


async def broken(content: bytes) -> AsyncIterator[bytes]:
    """Content that breaks off."""
    for start in range(0, len(content), 65_536):
        yield content[start : start + 65_536]
    raise Broke


class ObjectSuite:
    """Subclass it with the fixture `store`, which is open, empty, and has room for 100 MB."""

    async def test_it_gives_back_what_was_put_there(self, store: ObjectStore) -> None:
        content = os.urandom(100_000) + b"\r\n\x00"
        stored = await store.put("p/files/A1", pieces(content[:7], b"", content[7:]))
        assert stored.size == len(content)
        assert stored.sha256 == hashlib.sha256(content).hexdigest()
        assert await whole(store, "p/files/A1") == content

    async def test_what_is_put_again_is_replaced(self, store: ObjectStore) -> None:
        await store.put("p/a", pieces(b"a longer one"))
        await store.put("p/a", pieces(b"later"))
        assert await whole(store, "p/a") == b"later"

    async def test_an_object_may_be_empty(self, store: ObjectStore) -> None:
        for content in (pieces(), pieces(b"")):
            assert (await store.put("p/empty", content)).size == 0
            assert await whole(store, "p/empty") == b""
            assert await whole(store, "p/empty", 5, 10) == b""

    async def test_an_object_may_be_large(self, store: ObjectStore) -> None:
        content = os.urandom(1024 * 1024) * 21
        stored = await store.put(
            "p/large", pieces(*[content[start : start + 65_536] for start in range(0, LARGE, 65_536)])
        )
        assert (stored.size, stored.sha256) == (LARGE, hashlib.sha256(content).hexdigest())
        assert hashlib.sha256(await whole(store, "p/large")).hexdigest() == stored.sha256
        middle = 9 * 1024 * 1024 + 17
        assert await whole(store, "p/large", middle, 6_000_000) == content[middle : middle + 6_000_000]

    @pytest.mark.parametrize(
        ("first", "count"), [(0, 1), (0, 10), (3, 4), (9, 1), (9, 100), (10, 1), (50, 1), (4, None), (10, None), (0, 0)]
    )
    async def test_it_reads_a_range(self, store: ObjectStore, first: int, count: int | None) -> None:
        await store.put("p/ten", pieces(b"0123456789"))
        assert (
            await whole(store, "p/ten", first, count) == b"0123456789"[first : None if count is None else first + count]
        )

    async def test_what_is_not_there_is_not_found(self, store: ObjectStore) -> None:
        await store.put("p/files/there", pieces(b"x"))
        for key in ("p/files/absent", "q/files/there", "p/files", "p/files/there/more"):
            with pytest.raises(NotFound):
                await whole(store, key)
            assert await store.stat(key) is None
            await store.delete(key)
        assert await whole(store, "p/files/there") == b"x"

    async def test_it_tells_what_it_knows(self, store: ObjectStore) -> None:
        await store.put("p/first", pieces(b"123"))
        await store.put("p/second", pieces(b"12345"))
        first, second = await store.stat("p/first"), await store.stat("p/second")
        assert first is not None
        assert second is not None
        assert (first.key, first.size, second.size) == ("p/first", 3, 5)
        # Storages tell whole seconds.
        assert int(first.modified_at) <= second.modified_at

    async def test_what_was_deleted_is_gone(self, store: ObjectStore) -> None:
        await store.put("p/a", pieces(b"a"))
        await store.put("p/b", pieces(b"b"))
        await store.delete("p/a")
        await store.delete("p/a")
        assert await store.stat("p/a") is None
        assert await keys(store, "p/") == ["p/b"]

    async def test_it_lists_what_begins_with_a_prefix_sorted(self, store: ObjectStore) -> None:
        for key in ("p/b/2", "p/b/10", "p/b-c/1", "p/a", "p/b/1/x", "q/b/1", "pp/b/1"):
            await store.put(key, pieces(key.encode()))
        assert await keys(store, "p/b/") == ["p/b/1/x", "p/b/10", "p/b/2"]
        assert await keys(store, "p/") == ["p/a", "p/b-c/1", "p/b/1/x", "p/b/10", "p/b/2"]
        assert await keys(store, "absent/") == []
        assert [facts.size async for facts in store.list("q/")] == [5]

    async def test_it_lists_many(self, store: ObjectStore) -> None:
        names = [f"p/many/{number:04}" for number in range(1_050)]
        for start in range(0, len(names), 50):
            await asyncio.gather(*(store.put(name, pieces(b"x")) for name in names[start : start + 50]))
        assert await keys(store, "p/many/") == names

    @pytest.mark.parametrize("size", [0, 100_000, LARGE])
    async def test_what_breaks_off_leaves_nothing(self, store: ObjectStore, size: int) -> None:
        with pytest.raises(Broke):
            await store.put("p/broken", broken(bytes(size)))
        assert await store.stat("p/broken") is None
        assert await keys(store, "p/") == []

    @pytest.mark.parametrize("size", [100_000, LARGE])
    async def test_what_breaks_off_leaves_what_was_there(self, store: ObjectStore, size: int) -> None:
        await store.put("p/kept", pieces(b"kept"))
        with pytest.raises(Broke):
            await store.put("p/kept", broken(bytes(size)))
        assert await whole(store, "p/kept") == b"kept"

    @pytest.mark.parametrize("size", [100_000, LARGE])
    async def test_what_is_cancelled_leaves_nothing(self, store: ObjectStore, size: int) -> None:
        under_way, never = asyncio.Event(), asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(0, size, 65_536):
                yield bytes(65_536)
            under_way.set()
            await never.wait()

        putting = asyncio.create_task(store.put("p/cancelled", endless()))
        await under_way.wait()
        assert await store.stat("p/cancelled") is None
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await store.stat("p/cancelled") is None
        assert await keys(store, "p/") == []

    async def test_a_reader_may_stop_early(self, store: ObjectStore) -> None:
        await store.put("p/long", pieces(bytes(9_000_000)))
        reading = store.get("p/long")
        assert await anext(reading)
        await reading.aclose()
        await store.delete("p/long")
        assert await store.stat("p/long") is None

    async def test_several_may_put_the_same(self, store: ObjectStore) -> None:
        contents = [bytes([number]) * 1_000_000 for number in range(5)]
        await asyncio.gather(
            *(store.put("p/same", pieces(content[:500_000], content[500_000:])) for content in contents)
        )
        assert await whole(store, "p/same") in contents

    @pytest.mark.parametrize("key", NOT_KEYS)
    async def test_what_is_no_key_is_refused(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(Invalid):
            await store.put(key, pieces(b"x"))
        with pytest.raises(Invalid):
            await whole(store, key)
        with pytest.raises(Invalid):
            await store.stat(key)
        with pytest.raises(Invalid):
            await store.delete(key)
        if key != "p/":
            with pytest.raises(Invalid):
                await keys(store, key)

    async def test_it_can_be_closed_twice(self, store: ObjectStore) -> None:
        await store.close()
        await store.close()
