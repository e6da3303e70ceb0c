"""Every limit there is, in memory: from a caller and a model to what counts for the call.

The book is a replica of the limits, with those that the settings declare. It reads them again whenever it hears of a
change, which is within a second in every process. Slots of the shared counters are opened at their first use, with what
the ledger knows, and kept abreast of resets, of what was added to a window, and of corrections of the ledger.
"""

from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Final, TypeVar

import msgspec

from polyforge.database.database import Database
from polyforge.database.events.following import Follower
from polyforge.database.events.store import Event
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unavailable
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.corrections.service import CORRECTED
from polyforge.tenancy.flights import Flights
from polyforge.tenancy.ledger.slots import TICKS
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Start, counter_of
from polyforge.tenancy.limits.lanes import Lane
from polyforge.tenancy.limits.records import ANY, Limit, LimitState, LimitUse
from polyforge.tenancy.limits.store import SystemLimits
from polyforge.tenancy.limits.windows import MICROS, NEVER, window_start

CHANGES: Final = frozenset({"limit.created", "limit.changed", "limit.removed", "limit.adjusted"})
"""Kinds of events of which the book has to hear."""
_MOST_FOUND: Final = 20_000
_MOST_COUNTERS: Final = 100_000
_MOST_TOLD: Final = 1_000

_log = get_logger(__name__)

K = TypeVar("K")


class Rules(msgspec.Struct, gc=False, eq=False):
    """What counts for the calls of a caller of a model."""

    counters: tuple[Counter, ...]
    end_users: tuple[Limit, ...]
    """Limits on whom the caller asks for."""
    providers: tuple[Limit, ...]
    """Limits on who answers."""
    measures: frozenset[str]
    """What any of them counts."""
    ready: bool = False
    """Whether the counters are all there are for each call, and their slots are open."""
    lane: Lane | None = None
    """What its calls may use without asking the counters, once there was one."""

    def of_money(self) -> "Rules | None":
        """What of it counts money; None where nothing does."""
        if "money" not in self.measures:
            return None
        return Rules(
            tuple(each for each in self.counters if each.measure == "money"),
            tuple(each for each in self.end_users if each.measure == "money"),
            tuple(each for each in self.providers if each.measure == "money"),
            frozenset({"money"}),
            self.ready,
        )


class LimitBook:
    """The replica. `any` is false once it is known that there is no limit at all; then nothing else need be asked.

    `heard` is to be called with every event of the stream `budgets`.
    """

    def __init__(
        self, database: Database, clock: Clock, counters: LimitCounters, declared: Sequence[Limit], waiting: int = 1_000
    ) -> None:
        self._database = database
        self._clock = clock
        self._counters = counters
        self._declared = tuple(declared)
        self._limits: dict[str, Limit] = {}
        self._of_organization: dict[str | None, list[Limit]] = {}
        self._states: dict[tuple[str, str], LimitState] = {}
        self._known: dict[tuple[str, str], Counter] = {}
        self._found: dict[tuple[str, str], tuple[Caller, Rules | None]] = {}
        self._flights: Flights[str, None] = Flights("limits that are used for the first time", waiting)
        self._corrected: set[str | None] = set()
        """Organizations of which the ledger was corrected; None: any may have been."""
        self._follower = Follower("limits", self.sync)
        self._loaded = False
        self.any = True

    async def open(self) -> None:
        """Read the limits and begin to follow them. A database that is down is tried again in the background."""
        await self._follower.open()

    async def close(self) -> None:
        """Stop following."""
        await self._follower.close()
        await self._flights.close()

    def heard(self, events: Sequence[Event]) -> None:
        """Something happened to limits or to the ledger; no events: anything may have."""
        corrected = {event.organization_id for event in events if event.kind == CORRECTED} if events else {None}
        self._corrected |= corrected
        if corrected or any(event.kind in CHANGES for event in events):
            self._follower.wake()

    def get(self, limit_id: str) -> Limit | None:
        """A limit by its id."""
        return self._limits.get(limit_id)

    @property
    def declared(self) -> tuple[Limit, ...]:
        """The limits that the settings declare."""
        return self._declared

    # Looking up

    def find(self, caller: Caller, model: str) -> Rules | None:
        """What counts for a call; None where nothing does, Unavailable as long as nobody knows."""
        known = self._found.get((caller.key_id, model))
        if known is not None and known[0] is caller:
            return known[1]
        rules = self._rules_of(caller, model)
        if len(self._found) >= _MOST_FOUND:
            self._found.clear()
        self._found[caller.key_id, model] = (caller, rules)
        return rules

    def _rules_of(self, caller: Caller, model: str) -> Rules | None:
        if not self._loaded:
            raise _not_known()
        mine = [*self._of_organization.get(None, ()), *self._of_organization.get(caller.organization_id, ())]
        mine = [limit for limit in mine if limit.covers(caller)]
        counters = [self.counter(limit, subject) for limit in mine for subject in limit.subjects(caller, model)]
        end_users = [limit for limit in mine if limit.subject == "end_user"]
        providers = [limit for limit in mine if limit.subject == "provider"]
        if not (counters or end_users or providers):
            return None
        measures = {each.measure for each in (*counters, *end_users, *providers)}
        return Rules(tuple(counters), tuple(end_users), tuple(providers), frozenset(measures))

    def counters_of_money(self, caller: Caller) -> list[Counter]:
        """The counters of those limits; Unavailable as long as nobody knows them."""
        if not self._loaded:
            raise _not_known()
        return [self.counter(limit, subject) for limit, subject in self.budgets_of(caller)]

    def budgets_of(self, caller: Caller) -> list[tuple[Limit, str]]:
        """The limits on money that count for every call of a caller, whatever its model, and for whom they count."""
        mine = [*self._of_organization.get(None, ()), *self._of_organization.get(caller.organization_id, ())]
        mine = [limit for limit in mine if limit.measure == "money" and limit.subject != "model"]
        return [(limit, subject) for limit in mine if limit.covers(caller) for subject in limit.subjects(caller, "")]

    def counter(self, limit: Limit, subject_id: str) -> Counter:
        """The counter of a limit for one subject."""
        known = self._known.get((limit.id, subject_id))
        if known is not None and known.limit is limit:
            return known
        if len(self._known) >= _MOST_COUNTERS:
            self._known.clear()
            self._found.clear()
        made = self._known[limit.id, subject_id] = counter_of(limit, subject_id)
        return made

    def counters_of(self, limits: Sequence[Limit], subject_id: str) -> list[Counter]:
        """The counters of limits that are on this subject."""
        return [self.counter(limit, subject_id) for limit in limits if limit.subject_id in (ANY, subject_id)]

    async def ready(self, counters: Sequence[Counter]) -> None:
        """Have the slots of counters open; Unavailable when that needs a database which is down."""
        for counter in counters:
            if counter.slot < 0:
                await self._open(counter)

    async def _open(self, counter: Counter) -> None:
        if not self._attach(counter):
            await self._flights.join(counter.name, partial(self._begin, counter))
            self._attach(counter)

    def _attach(self, counter: Counter) -> bool:
        """Find the slot of a counter, which another worker may have opened before something was done to its limit."""
        if not self._counters.attach(counter):
            return False
        state = self._states.get((counter.limit.id, counter.subject_id))
        if state is not None:
            self._counters.apply(counter, state)
        return True

    async def _begin(self, counter: Counter) -> None:
        async with self._database.read() as session:
            start = await _start_of(SystemLimits(session), counter, self._clock.now())
        self._counters.begin(counter, start, self._clock.now())

    async def use(self, limit: Limit, subject_id: str) -> LimitUse:
        """How a limit stands for one subject; what nobody has used yet on this machine, by the ledger alone."""
        known = self._limits.get(limit.id)
        limit = known if known is not None and known == limit else limit
        now, counter = self._clock.now(), self.counter(limit, subject_id)
        if counter.slot >= 0 or self._attach(counter):
            return self._counters.use(counter, now)
        async with self._database.read() as session:
            start = await _start_of(SystemLimits(session), counter, now)
        used = start.used + start.corrected + sum(start.ticks.values())
        extra = start.state.extra if start.state is not None and now < start.state.extra_until else 0
        ends = self._counters.ends(counter, now)
        return LimitUse(used, limit.amount + extra, None if ends == NEVER else ends)

    def adjusted(self, limit: Limit, state: LimitState) -> None:
        """Something was done to a limit by this process: count it at once, in every worker of this machine."""
        self._states[state.limit_id, state.subject_id] = state
        _tell({limit.id})
        self._attach(self.counter(limit, state.subject_id))

    # Following

    async def sync(self) -> None:
        """Apply every change that is committed by now."""
        corrected, self._corrected = self._corrected, set()
        try:
            async with self._database.read() as session:
                store = SystemLimits(session)
                self._take_over([*self._declared, *await store.all()], await store.states())
                if corrected:
                    await self._correct(store, corrected)
        except BaseException:
            self._corrected |= corrected
            raise

    def _take_over(self, limits: Sequence[Limit], states: Sequence[LimitState]) -> None:
        self._counters.count_held()
        before = self._limits
        # What did not change stays the same object, and so do its counters.
        self._limits = {limit.id: before[limit.id] if before.get(limit.id) == limit else limit for limit in limits}
        self._of_organization = {}
        for limit in self._limits.values():
            self._of_organization.setdefault(limit.organization_id, []).append(limit)
        states_before = self._states
        self._states = {(state.limit_id, state.subject_id): state for state in states}
        self._known = {
            name: counter if self._limits[name[0]] is counter.limit else _moved(counter, self._limits[name[0]])
            for name, counter in self._known.items()
            if name[0] in self._limits
        }
        for name, state in self._states.items():
            counter = self._known.get(name)
            if counter is not None and counter.slot >= 0:
                self._counters.apply(counter, state)
        self._found.clear()
        self._loaded = True
        self.any = bool(self._limits)
        _tell(_changed(before, self._limits) | {name[0] for name in _changed(states_before, self._states)})

    async def _correct(self, store: SystemLimits, organizations: Set[str | None]) -> None:
        """Count what the ledger of these organizations was corrected by; None among them: of all."""
        now, whose = self._clock.now(), {None, *organizations}
        for counter in list(self._known.values()):
            if counter.measure != "money" or counter.tick_seconds or counter.slot < 0:
                continue
            if None not in organizations and counter.limit.organization_id not in whose:
                continue
            since = self._since(counter, now)
            corrected = await store.corrected(counter.limit, counter.subject_id, since)
            self._counters.correct(counter.slot, int(since * MICROS), corrected)

    def _since(self, counter: Counter, now: float) -> float:
        state = self._states.get((counter.limit.id, counter.subject_id))
        return max(window_start(counter.limit.window, now), state.reset_at if state else 0.0)


def _not_known() -> Unavailable:
    return Unavailable("limits are not known yet; try again", retry_after=1.0)


def _changed(before: Mapping[K, object], after: Mapping[K, object]) -> set[K]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _tell(limits: Set[str]) -> None:
    """For whoever wonders when a limit holds in which process."""
    if limits:
        _log.debug("limits are in force", limits=sorted(limits)[:_MOST_TOLD])


def _moved(counter: Counter, limit: Limit) -> Counter:
    """The counter of a limit that was changed: it goes on in the same slot."""
    made = counter_of(limit, counter.subject_id)
    if made.name == counter.name:
        made.slot, made.at, made.own = counter.slot, counter.at, counter.own
    return made


async def _start_of(store: SystemLimits, counter: Counter, now: float) -> Start:
    limit, subject_id = counter.limit, counter.subject_id
    state = await store.state(limit.id, subject_id)
    reset_at = state.reset_at if state else 0.0
    if not limit.window:
        return Start(0, state=state)
    if counter.tick_seconds:
        return Start(0, ticks=await _ticks(store, counter, reset_at, now), state=state)
    since = max(window_start(limit.window, now), reset_at)
    corrected = await store.corrected(limit, subject_id, since)
    used = await store.used(limit, subject_id, since)
    return Start(int(since * MICROS), used - corrected, corrected, state=state)


async def _ticks(store: SystemLimits, counter: Counter, reset_at: float, now: float) -> dict[int, int]:
    """What was used in each tick that still counts."""
    newest = int(now // counter.tick_seconds)
    first = newest - TICKS + 1
    edges = [tick * counter.tick_seconds for tick in range(first, newest + 2)]
    since = [max(edge, reset_at) for edge in edges]
    used = await store.spans(counter.limit, counter.subject_id, since)
    return {first + place: amount for place, amount in enumerate(used) if amount}
