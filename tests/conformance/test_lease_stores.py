"""Every store of leases against what its port promises, on a real server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from polyforge.adapters.lease_stores import redis
from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.ports.lease_store import Claim, Grant, LeaseStore
from tests.conformance.audit_sinks import NoSecrets
from tests.support.redis import RedisServer

PATIENCE = 600.0
POOL = "budget"


def in_redis(url: str, **settings: Any) -> redis.RedisLeaseStore:
    return redis.RedisLeaseStore(redis.Settings.model_validate({"url": url, "timeout_seconds": 5.0, **settings}))


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[LeaseStore]:
    store = in_redis(redis_server.url)
    await store.open(NoSecrets())
    yield store
    await store.close()


async def opened(store: LeaseStore, *machines: str) -> str:
    """The epoch, once these machines have registered."""
    epoch = (await store.beat(machines[0])).epoch
    for seen in (0, len(machines)):
        for machine in machines:
            await store.beat(machine)
            await store.register(epoch, machine, machines, seen, PATIENCE)
    assert (await store.beat(machines[0])).is_open
    return epoch


async def ask(store: LeaseStore, epoch: str, machine: str, **fields: Any) -> Grant:
    asked: dict[str, Any] = {"pool": POOL, "number": 1, "held": 0, "need": 10, "allowed": 100, "used": 0, **fields}
    claim = Claim(**asked)
    grants = await store.claim(epoch, machine, [claim])
    assert grants is not None
    return grants[0]


async def test_no_more_is_handed_out_than_is_allowed_and_a_need_is_met_whole_or_not_at_all(store: LeaseStore) -> None:
    epoch = await opened(store, "a", "b")
    assert await ask(store, epoch, "a", need=60) == Grant(60, 40, 0, scarce=False)
    assert await ask(store, epoch, "b", need=41) == Grant(0, 40, 60, scarce=True)
    assert (await ask(store, epoch, "b", number=2, need=40)).granted == 40
    assert (await ask(store, epoch, "a", number=2, held=60, need=1)).granted == 0


async def test_what_is_wanted_beyond_the_need_is_a_share_of_what_is_left(store: LeaseStore) -> None:
    epoch = await opened(store, "a", "b")
    assert (await ask(store, epoch, "a", need=1, want=1000)).granted == 25
    assert (await ask(store, epoch, "b", need=1, want=5)).granted == 5


async def test_where_somebody_was_given_nothing_nobody_gets_more_than_needed(store: LeaseStore) -> None:
    epoch = await opened(store, "a", "b")
    assert (await ask(store, epoch, "a", need=101)).scarce
    assert await ask(store, epoch, "b", need=1, want=50) == Grant(1, 99, 0, scarce=True)


async def test_what_is_given_back_others_can_have(store: LeaseStore) -> None:
    epoch = await opened(store, "a", "b")
    await ask(store, epoch, "a", need=100)
    assert (await ask(store, epoch, "a", number=2, held=30, need=0)).left == 70
    assert (await ask(store, epoch, "b", need=70)).granted == 70


async def test_what_is_left_of_a_machine_that_is_gone_can_only_become_less(store: LeaseStore) -> None:
    epoch = await opened(store, "a", "b")
    await ask(store, epoch, "a", need=60)
    for pool, held in (("other", 50), (POOL, 70), (POOL, 20)):
        await ask(store, epoch, "a", pool=pool, number=9, held=held, need=0, used=-1, only_less=True)
    assert (await ask(store, epoch, "b", need=1)).others == 20
    assert (await ask(store, epoch, "b", pool="other", need=1)).others == 0


async def test_a_claim_that_comes_late_is_not_heard(store: LeaseStore) -> None:
    epoch = await opened(store, "a", "b")
    await ask(store, epoch, "a", number=5, need=90)
    assert (await ask(store, epoch, "a", number=4, held=0, need=0)).granted == 0
    assert (await ask(store, epoch, "b", need=11)).granted == 0


async def test_what_was_used_before_counts_once_and_somebody_has_to_tell(store: LeaseStore) -> None:
    epoch = await opened(store, "a", "b")
    assert (await ask(store, epoch, "a", need=1, used=-1)).granted == 0
    assert (await ask(store, epoch, "a", number=2, need=30, used=70)).granted == 30
    # By now it is the part of somebody who holds some.
    assert (await ask(store, epoch, "b", need=1, used=100)).others == 100


async def test_a_flush_begins_an_epoch_that_is_closed_until_all_have_told_what_they_hold(
    store: LeaseStore, redis_server: RedisServer
) -> None:
    first = await opened(store, "a", "b")
    await ask(store, first, "a", need=50)
    redis_server.command("FLUSHALL")
    assert await store.claim(first, "b", [Claim(POOL, 1, 0, need=100, allowed=100, used=0)]) is None
    standing = await store.beat("b")
    assert standing.epoch != first
    assert not standing.is_open
    assert not await store.register(standing.epoch, "b", ["a", "b"], 0, PATIENCE)
    assert (await ask(store, standing.epoch, "b", need=1)).granted == 0
    # Until then the most that anybody knows of was used: the ledger grows while machines tell one after the other.
    await ask(store, standing.epoch, "a", number=2, held=40, need=0, used=10)
    # Who told before the last one came has to tell once more.
    assert not await store.register(standing.epoch, "a", ["a", "b"], 2, PATIENCE)
    assert (await store.beat("b")).arrivals == 2
    assert await store.register(standing.epoch, "b", ["a", "b"], 2, PATIENCE)
    assert (await ask(store, standing.epoch, "b", number=2, need=51)).granted == 0
    assert (await ask(store, standing.epoch, "b", number=3, need=50)).granted == 50


async def test_another_start_of_the_server_begins_an_epoch_too(store: LeaseStore, redis_server: RedisServer) -> None:
    first = await opened(store, "a")
    redis_server.kill()
    with pytest.raises(Unavailable):
        await store.beat("a")
    redis_server.start()
    assert (await store.beat("a")).epoch != first


async def test_who_does_not_tell_is_not_waited_for_for_ever(store: LeaseStore) -> None:
    epoch = (await store.beat("a")).epoch
    assert not await store.register(epoch, "a", ["a", "gone"], 1, PATIENCE)
    assert await store.register(epoch, "a", ["a", "gone"], 1, -1.0)


async def test_what_does_not_last_is_shared_evenly_as_long_as_the_epoch_is_closed(store: LeaseStore) -> None:
    epoch = (await store.beat("a")).epoch
    await store.beat("b")
    assert (await ask(store, epoch, "a", need=1, want=100, lasts=90.0)).granted > 0
    assert (await ask(store, epoch, "a", number=2, held=50, need=1, lasts=90.0)).granted == 0


async def test_a_machine_that_is_not_heard_of_loses_what_does_not_last_and_keeps_what_does(
    store: LeaseStore, redis_server: RedisServer
) -> None:
    epoch = await opened(store, "a", "b")
    for pool, lasts in (("rate", 90.0), ("money", 0.0)):
        await ask(store, epoch, "a", pool=pool, need=100, lasts=lasts)
        assert (await ask(store, epoch, "b", pool=pool, need=1, lasts=lasts)).granted == 0
    machines = next(name for name in redis_server.command("KEYS", "*").split() if name.endswith("machines"))
    redis_server.command("ZADD", machines, "0", "a")
    assert (await ask(store, epoch, "b", pool="rate", number=2, need=100, lasts=90.0)).granted == 100
    assert (await ask(store, epoch, "b", pool="money", number=2, need=1)).granted == 0


async def test_pools_that_nobody_asks_for_any_more_are_swept(store: LeaseStore, redis_server: RedisServer) -> None:
    epoch = await opened(store, "a")
    await ask(store, epoch, "a", pool="of yesterday", expires=1.0)
    await ask(store, epoch, "a", pool="for good")
    pools = next(name for name in redis_server.command("KEYS", "*").split() if name.endswith("pools"))
    for _ in range(20):
        await store.beat("a")
    assert redis_server.command("HEXISTS", pools, "p:of yesterday") == "0"
    assert redis_server.command("HEXISTS", pools, "p:for good") == "1"


async def test_amounts_stay_exact(store: LeaseStore) -> None:
    epoch, most = await opened(store, "a"), 2**53 - 1
    assert (await ask(store, epoch, "a", need=most - 1, allowed=most)).granted == most - 1
    assert await ask(store, epoch, "a", number=2, held=most - 1, need=1, allowed=most) == Grant(1, 0, 0, scarce=False)


async def test_many_claims_are_answered_in_order(store: LeaseStore) -> None:
    epoch = await opened(store, "a")
    claims = [Claim(f"pool {n}", 1, 0, need=n, allowed=1000, used=0) for n in range(1, 251)]
    grants = await store.claim(epoch, "a", claims)
    assert grants is not None
    assert [grant.granted for grant in grants] == list(range(1, 251))


async def test_a_server_that_hangs_or_is_gone_is_unavailable(redis_server: RedisServer) -> None:
    store = in_redis(redis_server.url, timeout_seconds=0.2)
    await store.open(NoSecrets())
    redis_server.pause()
    with pytest.raises(Unavailable):
        await store.beat("a")
    redis_server.kill()
    with pytest.raises(Unavailable):
        await store.beat("a")
    await store.close()


def test_an_address_of_something_else_is_refused() -> None:
    with pytest.raises(SettingsError, match="redis://"):
        in_redis("http://127.0.0.1")
    with pytest.raises(SettingsError, match="cannot be"):
        in_redis("redis://127.0.0.1:port")
