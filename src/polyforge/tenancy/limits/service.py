"""Setting limits, and what is done to them, on behalf of a caller and within its organization."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Denied, Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.money import from_usd, to_usd
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.book import LimitBook
from polyforge.tenancy.limits.counters import Counter, LimitCounters
from polyforge.tenancy.limits.records import ANY, Limit, LimitState, LimitUse, Measure
from polyforge.tenancy.limits.schemas import LimitChanges, NewLimit, Reset, TopUp, Transfer
from polyforge.tenancy.limits.settings import Misfit, check_limit, units_of
from polyforge.tenancy.limits.store import LimitEditor, LimitStore, SystemLimitEditor, SystemLimits, no_such_limit
from polyforge.tenancy.limits.windows import window_end, window_start
from polyforge.tenancy.people.paging import check_cursor, is_id, page_of

MOST_LIMITS: Final = 1_000
"""Of one organization."""
MOST_SUBJECTS: Final = 100
_MOST_UNITS: Final = 10**15
_OPERATORS: Final = "settings:read"
"""Who may read the settings may see what they limit for everybody."""
_NAMED: Final = frozenset({"model", "provider", "end_user"})
"""Subjects that have names, and no ids of ours."""

Adjust = Callable[[LimitState], LimitState]


class LimitService:
    """Sets, changes, removes, resets and tops up limits; within a second every worker holds to them."""

    def __init__(
        self, database: Database, clock: Clock, recorder: Recorder, book: LimitBook, counters: LimitCounters
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._book = book
        self._counters = counters

    async def create(self, caller: Caller, body: NewLimit) -> Limit:
        """A new limit; Conflict when the name is taken, Invalid when it cannot be, or is on what is not there."""
        _check(body.measure, body.amount, body.window, body.thresholds)
        values = {
            "id": new_ulid(),
            "name": body.name,
            "project_id": body.project_id,
            "subject": body.subject,
            "subject_id": _subject_of(caller, body),
            "measure": body.measure,
            "amount": units_of(body.measure, body.amount),
            "window": body.window or "",
            "thresholds": sorted(set(body.thresholds)),
            "hard": body.hard,
            "created_at": self._clock.now(),
            "created_by": caller.key_id,
        }
        async with self._database.write(_scope(caller)) as session:
            editor = LimitEditor(session, _scope(caller))
            await editor.lock()
            await self._require_free(editor, body.name)
            if await editor.count() >= MOST_LIMITS:
                raise Conflict(f"an organization has at most {MOST_LIMITS} limits; remove some first")
            if body.project_id is not None and not await editor.has("project", body.project_id):
                raise Invalid(f"there is no project {body.project_id!r}", param="project_id")
            if body.subject_id != ANY and not await editor.has(body.subject, body.subject_id):
                raise Invalid(f"there is no {body.subject} {body.subject_id[:40]!r}", param="subject_id")
            limit = await editor.add(values)
            await self._record(session, caller, "limit.created", limit, None, _told(limit))
        await self._book.sync()
        return limit

    async def get(self, caller: Caller, limit_id: str) -> Limit:
        """One limit, declared or not; NotFound when the organization has none with this id."""
        declared = self._declared(caller, limit_id)
        if declared is not None:
            return declared
        async with self._database.read(_scope(caller)) as session:
            return await LimitStore(session, _scope(caller)).get(limit_id)

    async def page(
        self, caller: Caller, limit: int, cursor: str | None, measure: str | None = None
    ) -> tuple[list[Limit], str | None]:
        """The organization's limits, newest first, those that the settings declare last."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            found = await LimitStore(session, _scope(caller)).page(limit + 1, cursor, measure)
        declared = [each for each in self._visible(caller) if measure in (None, each.measure)]
        found += [each for each in declared if cursor is None or each.id < cursor]
        return page_of(found[: limit + 1], limit)

    async def change(self, caller: Caller, limit_id: str, body: LimitChanges) -> Limit:
        """The limit with what `body` sets; it goes on counting where it was."""
        self._refuse_declared(caller, limit_id)
        async with self._database.write(_scope(caller)) as session:
            editor = LimitEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.get(limit_id)
            values = _changes(before, body)
            if values.get("name", before.name) != before.name:
                await self._require_free(editor, values["name"])
            if not values:
                return before
            after = await editor.change(limit_id, values)
            await self._record(session, caller, "limit.changed", after, _told(before), _told(after))
        await self._book.sync()
        return after

    async def remove(self, caller: Caller, limit_id: str) -> None:
        """Take a limit away."""
        self._refuse_declared(caller, limit_id)
        async with self._database.write(_scope(caller)) as session:
            editor = LimitEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.get(limit_id)
            await editor.remove(limit_id)
            await self._record(session, caller, "limit.removed", before, _told(before), None)
        await self._book.sync()

    # How it stands

    async def use(self, limit: Limit, subject_id: str | None = None) -> LimitUse | None:
        """How a limit stands; None where each subject has a counter of its own and none is named."""
        if subject_id is None and limit.subject_id == ANY:
            return None
        return await self._book.use(limit, _one_subject(limit, subject_id))

    async def subjects(self, limit: Limit) -> list[tuple[str, int]]:
        """Who has used most of a limit that each has for itself, by the ledger."""
        if limit.subject_id != ANY or not limit.window:
            return []
        async with self._database.read() as session:
            since = window_start(limit.window, self._clock.now())
            return await SystemLimits(session).by_subject(limit, since, MOST_SUBJECTS)

    # What is done to it

    async def reset(self, caller: Caller, limit_id: str, body: Reset) -> Limit:
        """What was used counts no more; the window goes on to its end."""
        limit, now = await self.get(caller, limit_id), self._clock.now()
        _require_window(limit)
        subject_id = _one_subject(limit, body.subject_id)
        await self._adjust(
            caller, limit, subject_id, lambda state: msgspec.structs.replace(state, reset_at=now), {"reset": True}
        )
        return limit

    async def top_up(self, caller: Caller, limit_id: str, body: TopUp) -> Limit:
        """More may be used in the window under way."""
        limit = await self.get(caller, limit_id)
        _require_window(limit)
        amount = _units(limit, body.amount, "amount")
        adjust = self._adding(limit, amount)
        await self._adjust(
            caller, limit, _one_subject(limit, body.subject_id), adjust, {"added": _shown(limit, amount)}
        )
        return limit

    async def transfer(self, caller: Caller, limit_id: str, body: Transfer) -> Limit:
        """Give what is left of one limit on money to another, both or neither; Conflict when there is not so much."""
        source, target = await self.get(caller, limit_id), await self._target(caller, body.to)
        for limit, param in ((source, None), (target, "to")):
            if limit.measure != "money":
                raise Invalid("only money can be given to another limit", param=param)
        if source.id == target.id:
            raise Invalid("is the same limit", param="to")
        giver = _one_subject(source, body.subject_id)
        receiver = _one_subject(target, body.to_subject_id, "to_subject_id")
        amount = from_usd(body.amount)
        counter = self._book.counter(source, giver)
        await self._book.ready([counter])
        states = await self._write_transfer(caller, (source, giver), (target, receiver), amount, counter)
        for limit, state in zip((source, target), states, strict=True):
            self._book.adjusted(limit, state)
        return source

    async def _write_transfer(
        self, caller: Caller, source: tuple[Limit, str], target: tuple[Limit, str], amount: int, counter: Counter
    ) -> list[LimitState]:
        async with self._database.write() as session:
            editor = SystemLimitEditor(session)
            # From here to the end nobody else changes a state, which would undo what is shifted below.
            await editor.lock()
            before = await editor.state(source[0].id, source[1])
            if before is not None:
                self._book.adjusted(source[0], before)
            self._shift(counter, amount)
            try:
                taken = await self._put(editor, *source, self._adding(source[0], -amount))
                given = await self._put(editor, *target, self._adding(target[0], amount))
                told = {"to": target[0].id, "given": to_usd(amount)}
                whose = {"subject_id": source[1], "to_subject_id": target[1]}
                await self._record(session, caller, "limit.adjusted", source[0], None, {**told, **whose})
            except BaseException:
                self._counters.shift(counter, -amount, self._clock.now())
                raise
        return [taken, given]

    def _shift(self, counter: Counter, amount: int) -> None:
        """Out of the counters first, so that no call can spend it while it is on its way."""
        now = self._clock.now()
        if not self._counters.shift(counter, amount, now):
            left = to_usd(max(0, self._counters.left(counter, now)))
            raise Conflict(f"only {left:g} USD are left of {counter.limit.name!r}", param="amount")

    async def _adjust(
        self, caller: Caller, limit: Limit, subject_id: str, adjust: Adjust, told: dict[str, Any]
    ) -> None:
        async with self._database.write() as session:
            state = await self._put(SystemLimitEditor(session), limit, subject_id, adjust)
            await self._record(session, caller, "limit.adjusted", limit, None, {**told, "subject_id": subject_id})
        self._book.adjusted(limit, state)

    async def _put(self, editor: SystemLimitEditor, limit: Limit, subject_id: str, adjust: Adjust) -> LimitState:
        version = await editor.lock()
        before = await editor.state(limit.id, subject_id) or LimitState(limit.id, subject_id, 0)
        after = msgspec.structs.replace(adjust(before), version=version)
        await editor.put(after, limit.organization_id)
        return after

    def _adding(self, limit: Limit, amount: int) -> Adjust:
        now = self._clock.now()
        ends = window_end(limit.window, now)

        def add(state: LimitState) -> LimitState:
            extra = amount + (state.extra if now < state.extra_until else 0)
            if abs(extra) > _MOST_UNITS:
                raise Invalid(
                    f"would make more than {_shown(limit, _MOST_UNITS):g} of it in one window", param="amount"
                )
            return msgspec.structs.replace(state, extra=extra, extra_until=ends)

        return add

    # Helpers

    def _visible(self, caller: Caller) -> list[Limit]:
        """The declared limits that a caller may know of, as lists have them."""
        mine = [
            limit
            for limit in self._book.declared
            if limit.organization_id == caller.organization_id
            or (limit.organization_id is None and caller.may(_OPERATORS))
        ]
        return sorted(mine, key=lambda limit: limit.id, reverse=True)

    def _declared(self, caller: Caller, limit_id: str) -> Limit | None:
        return next((limit for limit in self._visible(caller) if limit.id == limit_id), None)

    def _refuse_declared(self, caller: Caller, limit_id: str) -> None:
        if self._declared(caller, limit_id) is not None:
            raise Denied("this limit stands in polyforge.yaml; change it there")

    async def _target(self, caller: Caller, limit_id: str) -> Limit:
        declared = self._declared(caller, limit_id)
        if declared is not None:
            return declared
        async with self._database.read(_scope(caller)) as session:
            found = await LimitStore(session, _scope(caller)).find(limit_id)
        if found is None:
            raise Invalid(no_such_limit(limit_id).message, param="to")
        return found

    async def _require_free(self, editor: LimitEditor, name: str) -> None:
        if await editor.named(name) is not None:
            raise Conflict("the organization has a limit of this name already", param="name")

    async def _record(
        self,
        session: WriteSession,
        caller: Caller,
        action: str,
        limit: Limit,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> None:
        subject = Subject("limit", limit.id, caller.organization_id, limit.project_id)
        await self._recorder.changed(session, caller, "budgets", action, subject, before, after)


def _subject_of(caller: Caller, body: NewLimit) -> str:
    """Whom a new limit is on; Invalid for what cannot be."""
    if body.subject == "organization":
        if body.subject_id not in (ANY, caller.organization_id):
            raise Invalid("can only be your own organization", param="subject_id")
        return caller.organization_id
    if body.subject_id != ANY and body.subject not in _NAMED and not is_id(body.subject_id):
        raise Invalid(f"is no id of a {body.subject}", param="subject_id")
    return body.subject_id


def _changes(before: Limit, body: LimitChanges) -> dict[str, Any]:
    """The columns that change."""
    given = body.model_fields_set
    amount = body.amount if "amount" in given else _shown(before, before.amount)
    thresholds = sorted(set(body.thresholds)) if "thresholds" in given else list(before.thresholds)
    _check(before.measure, amount, before.window or None, thresholds)
    values: dict[str, Any] = {
        "name": body.name if "name" in given else before.name,
        "amount": units_of(before.measure, amount) if "amount" in given else before.amount,
        "thresholds": thresholds,
        "hard": body.hard if "hard" in given else before.hard,
    }
    told = {**msgspec.structs.asdict(before), "thresholds": list(before.thresholds)}
    return {name: value for name, value in values.items() if told[name] != value}


def _check(measure: Measure, amount: float, window: str | None, thresholds: Sequence[float]) -> None:
    try:
        check_limit(measure, amount, window, thresholds)
    except Misfit as error:
        raise Invalid(str(error), param=error.field) from error


def _one_subject(limit: Limit, subject_id: str | None, param: str = "subject_id") -> str:
    """The subject whose counter is meant; Invalid when that is not said, or is another's."""
    if limit.subject_id != ANY:
        if subject_id not in (None, limit.subject_id):
            raise Invalid(f"the limit is on {limit.subject_id!r} only", param=param)
        return limit.subject_id
    if subject_id is None:
        raise Invalid(f"each {limit.subject} has a counter of its own: say whose", param=param)
    return subject_id


def _require_window(limit: Limit) -> None:
    if not limit.window:
        raise Invalid("calls under way are counted at every moment: there is nothing to reset or to add")


def _units(limit: Limit, amount: float, param: str) -> int:
    if limit.measure != "money" and amount != int(amount):
        raise Invalid(f"must be a whole number of {limit.measure}", param=param)
    units = units_of(limit.measure, amount)
    if not 0 < units <= _MOST_UNITS:
        raise Invalid(f"must be more than nothing, and at most {_shown(limit, _MOST_UNITS):g}", param=param)
    return units


def _shown(limit: Limit, amount: int) -> float:
    return to_usd(amount) if limit.measure == "money" else amount


def _told(limit: Limit) -> dict[str, Any]:
    """What the audit log keeps."""
    told = msgspec.structs.asdict(limit)
    told["amount"] = _shown(limit, limit.amount)
    for name in ("id", "organization_id", "declared", "created_at", "created_by"):
        del told[name]
    return told


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
