"""What a machine holds of the limits that it shares: asked for when a call lacks it, given back when nobody needs it.

Every worker of a machine has one, and they take turns per slot. A call that finds too little waits for one answer of
the store, whatever many lack the same; what it brings is enough for the next ones. Every second the store is told that
the machine lives, what lies idle goes back, and what others lack is let go of.

Where the store is gone, what counts for good goes on until what is held is used up. Rates and calls under way go on
with an even share. Where the store has lost what it knew, each machine tells again what it holds: not before all that
it settled until then is in the ledger, so that it need tell only of the rest.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.ports.lease_store import NOT_TOLD, Claim, Grant, LeaseStore, Standing
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.flights import Flights
from polyforge.tenancy.ledger.journal import SegmentName, is_owned, read, segments
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.limits.leased import ALWAYS, LeasedCounters, Part
from polyforge.tenancy.limits.machines import Machines
from polyforge.tenancy.limits.records import SLOT_MARK
from polyforge.tenancy.limits.remains import Remains
from polyforge.tenancy.limits.store import SystemLimits
from polyforge.tenancy.limits.windows import MICROS

_TURN_SECONDS: Final = 1.0
_GONE_SECONDS: Final = 600.0
"""After so long without the store a machine uses nothing of what counts for good: should the store have lost what it
knew, this machine will soon be waited for no longer."""
_IDLE_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 600.0
"""How long a machine that does not answer is waited for when the store has lost what it knew."""
_ROUNDS: Final = 3
"""How often a machine tells before it waits a turn: once to arrive, once more when all have, and a look at it."""
_LEAST_PACE, _MOST_PACE = 32, 4096
"""For how many calls like the one that lacks it a machine asks at once."""
_PACE_SECONDS: Final = 1.0
_MOST_KNOWN: Final = 20_000
_MOST_REFRESHED: Final = 500
_MOST_WAITING: Final = 1000
_TRIES: Final = 250
_TRY_SECONDS: Final = 0.004
_DRAIN_TRIES: Final = 100
_DRAIN_SECONDS: Final = 0.1
_LAST_NUMBER: Final = 2**52
_NEVER: Final = 1e9
_ID_LENGTH: Final = 26
_log = get_logger(__name__)


class _Held(msgspec.Struct):
    """A part that this process asked for."""

    part: Part
    used: int
    since: float
    """When the use was last seen to change."""
    pace: int = _LEAST_PACE
    asked: float = 0.0
    scarce: bool = False


class Leaseholder:
    """Of one worker. `machine` names this start of the machine, the same in all its workers."""

    def __init__(
        self,
        store: LeaseStore,
        counters: LeasedCounters,
        database: Database,
        ledger: LedgerStore,
        journals: Path,
        remains: Path,
        machine: str,
        clock: Clock,
    ) -> None:
        self._store = store
        self._counters = counters
        self._database = database
        self._ledger = ledger
        self._machines = Machines(database)
        self._journals = journals
        self._remains = remains
        self._machine = machine
        self._clock = clock
        self._standing: Standing | None = None
        self._others = 1
        self._heard = clock.monotonic()
        self._reachable = False
        self._enrolled = False
        self._known: dict[str, _Held] = {}
        self._active: dict[str, _Held] = {}
        self._told: set[str] = set()
        self._flights: Flights[str, bool] = Flights("limits that are asked for", _MOST_WAITING)
        self._task: asyncio.Task[None] | None = None

    async def open(self, secrets: SecretSource) -> None:
        """Begin to share; a store that is down is tried again in the background."""
        await self._store.open(secrets)
        await self._try_turn()
        self._task = asyncio.create_task(self._run(), name="leases")

    async def close(self) -> None:
        """Give back what is not used. Needs the counters, and the ledger with all that this machine did."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._flights.close()
        try:
            await self._leave()
        except PolyforgeError as error:
            _log.warning("not all that was held of shared limits could be given back", reason=error.message)
        await self._store.close()

    async def _leave(self) -> None:
        for held in list(self._active.values()):
            await self._tell(held, keep=False)
        if self._counters.is_last() and await self._has_read_all():
            await self._machines.dismiss(self._machine)

    async def _has_read_all(self) -> bool:
        """Whether all that this machine settled is in the ledger, its journals being closed."""
        for name in segments_of(self._journals, self._machine):
            offset = await self._ledger.offset(str(name))
            if next(read(self._journals / str(name), offset, intents=False), None) is not None:
                return False
        return True

    # For a call

    async def lend(self, parts: Sequence[Part]) -> bool:
        """Get what a call lacks; whether it makes sense to try again.

        Unavailable where nobody can tell how much is left of something that must not be passed.
        """
        try:
            if self._reachable:
                asked = [self._flights.join(part.pool, partial(self._ask, part)) for part in parts]
                return all(await asyncio.gather(*asked))
        except Unavailable:
            self._reachable = False
        now = self._clock.now()
        if any(part.strict for part in parts):
            raise _cannot_tell()
        for part in parts:
            self._note(part)
            self._counters.share(part, self._even(part), now)
        return all(self._counters.unused(part, now) >= part.amount for part in parts)

    async def _ask(self, part: Part) -> bool:
        standing = self._standing
        if standing is None:
            raise _cannot_tell()
        used = await self._used_before(part)
        async with self._claiming(part.slot):
            now = self._clock.now()
            if self._counters.unused(part, now) >= part.amount:
                return True
            claimed = self._counters.claim(part, now, keep=False)
            if claimed is None:
                return False
            held = self._note(part)
            want = part.amount * self._pace(held)
            claim = _claim_of(part, *claimed, need=part.amount, want=want, used=used)
            grant = await self._claim(standing.epoch, claim)
            self._counters.lend(part, claim.number, grant.granted, grant.others, grant.left)
        self._told.add(part.pool)
        held.scarce = False
        if grant.granted:
            return True
        if not standing.is_open and part.strict:
            raise _cannot_tell()
        self._counters.note_dry(part, self._clock.now())
        return False

    async def _claim(self, epoch: str, claim: Claim) -> Grant:
        grants = await self._store.claim(epoch, self._machine, [claim], self._others)
        if grants is None:
            raise _cannot_tell()
        return grants[0]

    @asynccontextmanager
    async def _claiming(self, slot: int) -> AsyncGenerator[None]:
        """Claim alone for a slot; Unavailable when another does so for too long."""
        for _ in range(_TRIES):
            if self._counters.begin_claim(slot):
                break
            await asyncio.sleep(_TRY_SECONDS)
        else:
            raise _cannot_tell()
        try:
            yield
        finally:
            self._counters.end_claim(slot)

    def _note(self, part: Part) -> _Held:
        held = self._known.get(part.pool)
        if held is None:
            if len(self._known) >= _MOST_KNOWN:
                self._active.pop(next(iter(self._known)), None)
                del self._known[next(iter(self._known))]
            held = self._known[part.pool] = _Held(part, 0, self._clock.monotonic())
        if part.pool not in self._active:
            self._active[part.pool] = held
            held.since = self._clock.monotonic()
        held.part = part
        return held

    def _pace(self, held: _Held) -> int:
        """For how many calls to ask at once: for more, the sooner more is needed."""
        now, asked = self._clock.monotonic(), held.asked
        held.asked = now
        held.pace = min(_MOST_PACE, held.pace * 2) if now - asked < _PACE_SECONDS else _LEAST_PACE
        return held.pace

    def _even(self, part: Part) -> int:
        return max(1, part.allowed // self._others)

    async def _used_before(self, part: Part) -> int:
        """What the ledger knows of a pool, for the first claim on it in an epoch."""
        if part.pool in self._told:
            return NOT_TOLD
        return await self._in_ledger(part)

    async def _in_ledger(self, part: Part) -> int:
        """What was used of a pool, without corrections; nothing of what is soon forgotten."""
        counter = part.counter
        if part.window == ALWAYS:
            return 0
        if counter is None:
            return (await self._ledger.balance(part.pool[1 : _ID_LENGTH + 1], part.window)).spent
        async with self._database.read() as session:
            store, since = SystemLimits(session), part.window / MICROS
            used = await store.used(counter.limit, counter.subject_id, since)
            return used - await store.corrected(counter.limit, counter.subject_id, since)

    # In the background

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            await self._try_turn()

    async def _try_turn(self) -> None:
        try:
            await self._turn()
        except PolyforgeError as error:
            self._failed(error.message)
        except Exception as error:  # noqa: BLE001  # whatever it was, without this task nothing would be shared again
            self._failed(repr(error))

    def _failed(self, reason: str) -> None:
        if self._reachable or self._standing is None:
            _log.warning("limits cannot be shared for now", reason=reason)
        self._reachable = False
        now, gone = self._clock.now(), self._clock.monotonic() - self._heard > _GONE_SECONDS
        for held in self._known.values():
            part = held.part
            if not part.strict:
                self._counters.share(part, self._even(part), now)
            elif gone:
                self._counters.share(part, min(self._counters.used(part), part.allowed), now)

    async def _turn(self) -> None:
        if not self._enrolled:
            await self._machines.enrol(self._machine)
            self._others = max(1, len(await self._machines.all()))
            self._enrolled = True
        for _ in range(_ROUNDS):
            standing = await self._meet()
            await self._settle_remains(standing)
            if standing.is_open:
                break
            await self._register(standing)
        await self._refresh()

    async def _meet(self) -> Standing:
        """Say that this machine lives."""
        standing = await self._store.beat(self._machine)
        self._heard = self._clock.monotonic()
        if self._standing is None or standing.epoch != self._standing.epoch:
            self._told.clear()
        if standing.is_open:
            self._others = max(1, standing.machines)
        self._standing = standing
        self._reachable = True
        return standing

    async def _refresh(self) -> None:
        """Give back what lies idle, and what others lack."""
        for pool, held in list(self._active.items())[:_MOST_REFRESHED]:
            now, used = self._clock.monotonic(), self._counters.used(held.part)
            if used != held.used:
                held.used, held.since = used, now
            idle = now - held.since > _IDLE_SECONDS
            going_on = await self._tell(held, keep=not (idle or held.scarce))
            # To the end of the line, so that each has its turn where there are many.
            self._active.pop(pool, None)
            if going_on and not (idle and self._counters.is_at_rest(held.part)):
                self._active[pool] = held

    async def _tell(self, held: _Held, *, keep: bool) -> bool:
        """Say what is held of a pool; whether its window still lasts."""
        part, standing = held.part, self._standing
        if standing is None or not self._counters.begin_claim(part.slot):
            return True
        try:
            claimed = self._counters.claim(part, self._clock.now(), keep=keep)
            if claimed is None:
                return False
            claim = _claim_of(part, *claimed)
            grant = await self._claim(standing.epoch, claim)
            self._counters.lend(part, claim.number, 0, grant.others, grant.left)
        finally:
            self._counters.end_claim(part.slot)
        held.scarce = grant.scarce or grant.left < 0
        return True

    # After the store has lost what it knew

    async def _register(self, standing: Standing) -> None:
        """Tell again what this machine holds; one of its workers does it."""
        counters = self._counters
        if not counters.begin_claim(counters.capacity):
            return
        try:
            parts = [self._known[part.pool].part if part.pool in self._known else part for part in counters.lasting()]
            settled = {part.pool: counters.settled(part) for part in parts}
            await self._drained()
            for part in parts:
                await self._register_part(standing.epoch, part, settled[part.pool])
            machines = await self._machines.all()
            await self._store.register(standing.epoch, self._machine, machines, standing.arrivals, _PATIENCE_SECONDS)
        finally:
            counters.end_claim(counters.capacity)

    async def _register_part(self, epoch: str, part: Part, settled: int) -> None:
        counters = self._counters
        # A part of a limit that nobody asked for here tells too little of it to look in the ledger.
        known = part.pool in self._known or not part.pool.startswith(SLOT_MARK)
        used = await self._in_ledger(part) if known else NOT_TOLD
        async with self._claiming(part.slot):
            claimed = counters.claim(part, self._clock.now(), keep=True)
            if claimed is None:
                return
            number, held = claimed
            before = settled if known else counters.before(part)
            held += counters.before(part) - before
            await self._claim(epoch, _claim_of(part, number, held, used=used))
            counters.rebase(part, number, before)

    async def _drained(self) -> None:
        """Wait until all that this machine has settled is in the ledger; Unavailable when that takes too long."""
        names = segments_of(self._journals, self._machine)
        sizes = {name: (self._journals / str(name)).stat().st_size for name in names}
        for _ in range(_DRAIN_TRIES):
            sizes = {name: size for name, size in sizes.items() if await self._is_behind(name, size)}
            if not sizes:
                return
            await asyncio.sleep(_DRAIN_SECONDS)
        raise _cannot_tell()

    async def _is_behind(self, name: SegmentName, size: int) -> bool:
        """Whether something of the first `size` bytes of a journal is not in the ledger yet."""
        offset, path = await self._ledger.offset(str(name)), self._journals / str(name)
        if not path.exists():
            return False
        if not is_owned(path):
            # Its worker was killed: the calls that it left open are read last, and then it is gone.
            return True
        first = next(read(path, offset, intents=False), None)
        return first is not None and first.end <= size

    # What earlier starts of this machine left

    async def _settle_remains(self, standing: Standing) -> None:
        """Say what they used, once that is in the ledger: what they held beyond it others may have."""
        for path in self._remains.glob("*.remains"):
            machine = path.stem
            if segments_of(self._journals, machine):
                continue
            remains = msgspec.json.decode(path.read_bytes(), type=list[Remains])
            claims = [Claim(each.pool, _LAST_NUMBER, each.used, only_less=True) for each in remains]
            if await self._store.claim(standing.epoch, machine, claims) is None:
                raise _cannot_tell()
            # Whoever has told already has to look into the ledger once more.
            await self._store.register(standing.epoch, machine, [machine, self._machine], _LAST_NUMBER, _NEVER)
            await self._machines.dismiss(machine)
            path.unlink(missing_ok=True)


def segments_of(journals: Path, machine: str) -> list[SegmentName]:
    """The journals of one start of this machine that are not all in the ledger yet."""
    return [name for name in segments(journals) if name.session == machine]


def _claim_of(part: Part, number: int, held: int, *, need: int = 0, want: int = 0, used: int = NOT_TOLD) -> Claim:
    return Claim(part.pool, number, held, need, want, part.allowed, used, part.lasts, expires=part.expires)


def _cannot_tell() -> Unavailable:
    return Unavailable("how much is left of a limit that machines share cannot be told for now", retry_after=1.0)
