"""What every store of data must do: one suite, run against each adapter."""

import os

import pytest

from polyforge.kernel.errors import Invalid, NotFound
from polyforge.ports.data_store import DataStore
from tests.conformance.objects import Broke, broken, pieces

NOT_PATHS = [
    "",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    ".",
    "a/./b",
    ".hidden",
    "a/.hidden",
    "a\\b",
    "a\0",
    "a\nb",
    "x" * 501,
]
PATHS = [
    "alone.csv",
    "a b/may (1).csv",
    "dt=2026-05-01/part-0.parquet",
    "grün/日本.jsonl",
    "a+b,c@d&e~f.csv",
    "50%/a#1?.csv",
]


async def whole(store: DataStore, path: str, first: int = 0, count: int | None = None) -> bytes:
    """What lies at a path."""
    return b"".join([piece async for piece in store.get(path, first, count)])


class DataSuite:
    """Subclass it with the fixture `store`, which is open and empty."""

    @pytest.mark.parametrize("path", PATHS)
    async def test_paths_are_as_others_make_them(self, store: DataStore, path: str) -> None:
        assert await store.stat(path) is None
        assert (await store.put(path, pieces(b"a,b\n", b"1,2\n"))).size == 8
        assert await whole(store, path) == b"a,b\n1,2\n"
        assert await whole(store, path, 4, 3) == b"1,2"
        facts = await store.stat(path)
        assert facts is not None
        assert (facts.key, facts.size) == (path, 8)

    async def test_what_is_put_again_is_replaced_as_a_whole(self, store: DataStore) -> None:
        await store.put("a/b.csv", pieces(b"a longer one"))
        with pytest.raises(Broke):
            await store.put("a/b.csv", broken(b"half"))
        assert await whole(store, "a/b.csv") == b"a longer one"
        await store.put("a/b.csv", pieces(b"later"))
        assert await whole(store, "a/b.csv") == b"later"

    async def test_what_is_large_comes_back(self, store: DataStore) -> None:
        content = os.urandom(1024 * 1024) * 11
        await store.put("large", pieces(content[:6_000_000], content[6_000_000:]))
        assert await whole(store, "large") == content

    async def test_what_is_not_there_is_not_found(self, store: DataStore) -> None:
        await store.put("a/b.csv", pieces(b"x"))
        for path in ("b.csv", "a", "a/b.csv/c"):
            assert await store.stat(path) is None
            with pytest.raises(NotFound):
                await whole(store, path)

    @pytest.mark.parametrize("path", NOT_PATHS)
    async def test_what_is_no_path_is_refused(self, store: DataStore, path: str) -> None:
        with pytest.raises(Invalid):
            await whole(store, path)
        with pytest.raises(Invalid):
            await store.stat(path)
        with pytest.raises(Invalid):
            await store.put(path, pieces(b"x"))
