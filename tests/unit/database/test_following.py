"""What a process remembers of the database: read again when told, and until it works."""

import asyncio

import pytest

from polyforge.database.events import following
from polyforge.database.events.following import Follower
from polyforge.kernel.errors import Unavailable


class Replica:
    """Fails as often as it is told to."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.tries = 0

    async def sync(self) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)


async def tried(replica: Replica, times: int) -> None:
    async with asyncio.timeout(30):
        while replica.tries < times:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.001)


async def test_it_is_read_at_the_start_and_whenever_somebody_tells() -> None:
    replica = Replica()
    follower = Follower("samples", replica.sync)
    await follower.open()
    assert replica.tries == 1
    for _ in range(20):
        await asyncio.sleep(0)
    assert replica.tries == 1
    follower.wake()
    await tried(replica, 2)
    await follower.close()
    follower.wake()
    await asyncio.sleep(0.01)
    assert replica.tries == 2


async def test_what_fails_is_tried_again_whatever_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_RETRY_SECONDS", 0.001)
    replica = Replica()
    replica.failures = [Unavailable("the database is down"), ValueError("a bug")]
    follower = Follower("samples", replica.sync)
    await follower.open()
    assert follower.failing
    await tried(replica, 3)
    await asyncio.sleep(0)
    assert not follower.failing
    await asyncio.sleep(0.01)
    assert replica.tries == 3
    await follower.close()
