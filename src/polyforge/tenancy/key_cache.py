"""Keys in memory: from the bytes of a token to its caller, without a database on the way.

The cache is a replica of the key table. Every change of a key takes the next version inside its transaction, so asking
for what is later than the last version seen gives each change exactly once and in order, in every process, within a
second. Who joins or leaves a group changes no key: of that the cache is told, and reads the groups again.

Looking a token up by its SHA-256 takes no time that depends on how much of it is right: a guess that is nearly a key
hashes to something unrelated, so there is nothing to compare in constant time.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256

import msgspec

from polyforge.database.database import Database
from polyforge.database.events.store import Event
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, Unauthenticated, Unavailable
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.flights import Flights
from polyforge.tenancy.keys import MAX_TOKEN_BYTES, NOBODYS, ApiKey, Owner, caller_of, is_well_formed
from polyforge.tenancy.store import SystemStore

_log = get_logger(__name__)

SYNC_SECONDS = 0.4
TOLD_SYNC_SECONDS = 5.0
"""Between looks of a cache that is woken by every change, and looks by itself only in case it was not."""
PAGE = 500
NEVER = float("-inf")
_REGROUPINGS = frozenset({"group.joined", "group.left", "group.removed"})

Groups = Mapping[str, Mapping[str, tuple[str, ...]]]
"""The groups of users, by user and organization."""

Prepare = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """The preparation of who needs none."""


class KeyCache:
    """The callers of known keys. Bounded in memory: `capacity` keys, of which `preload` are read at the start.

    While the database is down, known keys work for `grace_seconds` after the last successful synchronisation and
    unknown ones are Unavailable. `given` is the hash of the admin key, which need not look like the keys that we issue.
    `prepare` runs before the first synchronisation, and again until it has succeeded once: what brings the schema and
    the admin key up to date belongs there, so that a process may start while the database is down.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        given: bytes | None = None,
        prepare: Prepare = _nothing,
        capacity: int = 20_000,
        preload: int = 10_000,
        negative_capacity: int = 10_000,
        negative_seconds: float = 10.0,
        grace_seconds: float = 600.0,
        lookups: int = 2,
        waiting: int = 256,
        sync_seconds: float = SYNC_SECONDS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._given = given
        self._prepare = prepare
        self._prepared = False
        self._preload = min(preload, capacity)
        self._grace = grace_seconds
        self._callers = _Callers(capacity)
        self._unknown = _Unknown(negative_capacity, negative_seconds)
        self._flights: Flights[bytes, Caller] = Flights("unknown keys", waiting)
        self._lookups = asyncio.Semaphore(lookups)
        self._sync_seconds = sync_seconds
        self._seen: int | None = None
        self._regroupings = 0
        self._regrouped = 0
        self._usable_until = NEVER
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    async def open(self) -> None:
        """Read the keys and begin to follow their changes. A database that is down is tried again in the background."""
        try:
            await self.sync()
        except Unavailable as error:
            self._note_failure(error.message)
        self._task = asyncio.create_task(self._follow(), name="key cache")

    async def close(self) -> None:
        """Stop following."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._flights.close()

    def wake(self) -> None:
        """Look for changes now rather than at the next tick."""
        self._wake.set()

    def heard(self, events: Sequence[Event]) -> None:
        """Something happened to people; no events: anything may have."""
        if not events or any(event.kind in _REGROUPINGS for event in events):
            self._regroupings += 1
            self._wake.set()

    @property
    def synchronised(self) -> bool:
        """Whether the replica is fresh enough to answer."""
        return self._clock.monotonic() < self._usable_until

    def lookup(self, token: bytes) -> Caller | None:
        """The caller of a token, None when only the database can tell.

        Unauthenticated when it cannot be a key or has expired, Unavailable when the replica is too old to be trusted.
        """
        hash_ = sha256(token).digest()
        caller = self._callers.get(hash_)
        if caller is None:
            self._refuse_hopeless(token, hash_)
            return None
        if caller.expires_at is not None and caller.expires_at <= self._clock.now():
            raise Unauthenticated("this API key has expired")
        if self._clock.monotonic() >= self._usable_until:
            raise Unavailable("keys cannot be checked for now; try again", retry_after=1.0)
        return caller

    async def resolve(self, token: bytes) -> Caller:
        """The caller of a token, asking the database when it must: once per token, however many callers wait.

        Unauthenticated when there is no such key; Unavailable when the database cannot tell.
        """
        caller = self.lookup(token)
        if caller is not None:
            return caller
        hash_ = sha256(token).digest()
        return await self._flights.join(hash_, partial(self._fetch, hash_))

    def _refuse_hopeless(self, token: bytes, hash_: bytes) -> None:
        if len(token) > MAX_TOKEN_BYTES or not (is_well_formed(token) or hash_ == self._given):
            raise Unauthenticated("this is not an API key of this server; keys look like pf-...")
        if self._unknown.holds(hash_, self._clock.monotonic()):
            raise _no_such_key()

    async def _fetch(self, hash_: bytes) -> Caller:
        async with self._lookups:
            seen = (self._seen, self._regroupings)
            async with self._database.read() as session:
                store = SystemStore(session)
                key = await store.by_hash(hash_)
                owners = await store.owners_of([key]) if key else {}
        now = self._clock.now()
        owner = owners.get(key.id, NOBODYS) if key else NOBODYS
        caller = _callers_by_hash(key, owner, now).get(hash_) if key else None
        if key is None or caller is None:
            self._unknown.add(hash_, self._clock.monotonic())
            raise _no_such_key()
        if seen == (self._seen, self._regroupings):
            # Otherwise a change came in meanwhile, perhaps the revocation of this very key: answer, but keep nothing.
            self._callers.put(key, owner, now)
        return caller

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.sync()
            except PolyforgeError as error:
                self._note_failure(error.message)
            except Exception:  # noqa: BLE001  # whatever it was, without this task no revocation would arrive again
                _log.exception("the key cache could not be synchronised")
                self._failing = True
            else:
                self._note_success()

    def _pause(self) -> float:
        """Seconds; as long as the database fails, nobody can tell of a change either."""
        return min(self._sync_seconds, SYNC_SECONDS) if self._failing else self._sync_seconds

    async def sync(self) -> None:
        """Apply every change that is committed by now; the first time, read the latest keys."""
        if not self._prepared:
            await self._prepare()
            self._prepared = True
        started = self._clock.monotonic()
        if self._seen is None:
            await self._load()
        else:
            await self._catch_up(self._seen)
        if self._regrouped != self._regroupings:
            await self._regroup()
        self._usable_until = started + self._grace

    async def _load(self) -> None:
        async with self._database.read() as session:
            store = SystemStore(session)
            generation = await store.generation()
            now = self._clock.now()
            before: int | None = None
            for left in range(self._preload, 0, -PAGE):
                page = await store.latest_usable(now, before, min(PAGE, left))
                owners = await store.owners_of(page)
                for key in page:
                    self._callers.put(key, owners.get(key.id, NOBODYS), now)
                if len(page) < PAGE:
                    break
                before = page[-1].version
        self._seen = generation

    async def _catch_up(self, seen: int) -> None:
        while True:
            async with self._database.read() as session:
                store = SystemStore(session)
                changed = await store.changed_since(seen, PAGE)
                owners = await store.owners_of(changed)
            now = self._clock.now()
            for key in changed:
                self._unknown.discard(key.hash)
                self._callers.put(key, owners.get(key.id, NOBODYS), now)
                seen = key.version
            self._seen = seen
            if len(changed) < PAGE:
                return

    async def _regroup(self) -> None:
        """Read again which groups the users of known keys are in."""
        regroupings, user_ids = self._regroupings, self._callers.user_ids()
        for start in range(0, len(user_ids), PAGE):
            async with self._database.read() as session:
                groups = await SystemStore(session).groups_of(user_ids[start : start + PAGE])
            self._callers.regroup(groups)
        self._regrouped = regroupings

    def _note_failure(self, reason: str) -> None:
        if not self._failing:
            _log.warning("the key cache cannot follow the database", reason=reason)
        self._failing = True

    def _note_success(self) -> None:
        if self._failing:
            _log.warning("the key cache follows the database again")
        self._failing = False


class _Callers:
    """Callers by hash, the least recently used out first, with the hashes of each key."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_hash: OrderedDict[bytes, Caller] = OrderedDict()
        self._hashes: dict[str, tuple[bytes, ...]] = {}

    def get(self, hash_: bytes) -> Caller | None:
        caller = self._by_hash.get(hash_)
        if caller is not None:
            self._by_hash.move_to_end(hash_)
        return caller

    def put(self, key: ApiKey, owner: Owner, now: float) -> None:
        """Replace what is known of a key by what it is now: nothing, when it no longer works."""
        self._drop(key.id)
        callers = _callers_by_hash(key, owner, now)
        if not callers:
            return
        self._by_hash.update(callers)
        self._hashes[key.id] = tuple(callers)
        while len(self._by_hash) > self._capacity:
            self._drop(next(iter(self._by_hash.values())).key_id)

    def user_ids(self) -> list[str]:
        """The users to whom known keys belong."""
        return sorted({caller.user_id for caller in self._by_hash.values() if caller.user_id is not None})

    def regroup(self, groups: Groups) -> None:
        """Put these users' keys into the groups that the users are in now."""
        for hash_, caller in self._by_hash.items():
            theirs = None if caller.user_id is None else groups.get(caller.user_id)
            if theirs is not None:
                now = theirs.get(caller.organization_id, ())
                self._by_hash[hash_] = msgspec.structs.replace(caller, group_ids=now)

    def _drop(self, key_id: str) -> None:
        for hash_ in self._hashes.pop(key_id, ()):
            del self._by_hash[hash_]


class _Unknown:
    """Hashes that no key has, each for a while."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self._capacity = capacity
        self._seconds = seconds
        self._until: dict[bytes, float] = {}

    def holds(self, hash_: bytes, now: float) -> bool:
        return self._until.get(hash_, NEVER) > now

    def add(self, hash_: bytes, now: float) -> None:
        self._until.pop(hash_, None)
        if len(self._until) >= self._capacity:
            del self._until[next(iter(self._until))]
        self._until[hash_] = now + self._seconds

    def discard(self, hash_: bytes) -> None:
        self._until.pop(hash_, None)


def _callers_by_hash(key: ApiKey, owner: Owner, now: float) -> dict[bytes, Caller]:
    """The callers of a key's secrets that work: the one of before the last rotation until its grace ends."""
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return {}
    caller = caller_of(key, owner)
    callers = {key.hash: caller}
    if key.previous_hash is not None and key.previous_until is not None and key.previous_until > now:
        end = key.previous_until if key.expires_at is None else min(key.previous_until, key.expires_at)
        callers[key.previous_hash] = msgspec.structs.replace(caller, expires_at=end)
    return callers


def _no_such_key() -> Unauthenticated:
    return Unauthenticated("there is no such API key; it may have been revoked")
