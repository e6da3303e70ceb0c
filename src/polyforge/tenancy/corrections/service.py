"""Correcting what calls came to, on behalf of a caller and within its project."""

from datetime import datetime

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, NotFound
from polyforge.kernel.ids import decode, new_ulid
from polyforge.kernel.money import Micros, from_usd, to_usd
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.corrections.records import Correction
from polyforge.tenancy.corrections.schemas import NewCorrection
from polyforge.tenancy.corrections.store import CorrectionEditor, CorrectionStore
from polyforge.tenancy.periods import period_bounds
from polyforge.tenancy.store import KeyStore

CORRECTED = "usage.corrected"
"""What events say; their resource is the key."""


class CorrectionService:
    """Adds entries to the ledger that change the cost or the price of a call, or of a key's calls in a period.

    The budget follows: what a key has spent changes with it, in every worker within a second.
    """

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def create(self, caller: Caller, body: NewCorrection) -> Correction:
        """A new entry; NotFound without the call or the key, Invalid when less than nothing would be left."""
        scope = _scope(caller)
        cost, price = from_usd(body.cost_change_usd), from_usd(body.price_change_usd)
        if cost == price == 0:
            raise Invalid("changes neither the cost nor the price", param="price_change_usd")
        async with self._database.write(scope) as session:
            editor = CorrectionEditor(session, scope)
            if body.record_id is not None:
                correction = await self._of_call(editor, caller, body, cost, price)
            else:
                correction = await self._of_period(session, editor, caller, body, cost, price)
            subject = Subject("key", correction.key_id, caller.organization_id, caller.project_id)
            await self._recorder.changed(session, caller, "budgets", CORRECTED, subject, None, _told(correction))
        return correction

    async def page(self, caller: Caller, limit: int, before: str | None) -> tuple[list[Correction], str | None]:
        """Some of the project's, newest first, and where the next ones begin."""
        async with self._database.read(_scope(caller)) as session:
            found = await CorrectionStore(session, _scope(caller)).page(limit + 1, before)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def _of_call(
        self, editor: CorrectionEditor, caller: Caller, body: NewCorrection, cost: Micros, price: Micros
    ) -> Correction:
        called = await editor.record(_known(body.record_id, "usage record"))
        correction = Correction(
            id=new_ulid(),
            key_id=called["key_id"],
            period_start=called["period_start"],
            record_id=called["id"],
            model=called["model"],
            at=called["started_at"],
            cost_micros=cost,
            price_micros=price,
            reason=body.reason,
            created_at=self._clock.now(),
            created_by=caller.key_id,
        )
        await editor.add(correction, called)
        _require_something_left(await editor.worth(called["id"]))
        return correction

    async def _of_period(
        self,
        session: WriteSession,
        editor: CorrectionEditor,
        caller: Caller,
        body: NewCorrection,
        cost: Micros,
        price: Micros,
    ) -> Correction:
        key = await KeyStore(session, _scope(caller)).get(_known(body.key_id, "key"))
        now = self._clock.now()
        at = _past(body.at, now)
        correction = Correction(
            id=new_ulid(),
            key_id=key.id,
            period_start=period_bounds(key.budget_period, at)[0],
            record_id=None,
            model="",
            at=at,
            cost_micros=cost,
            price_micros=price,
            reason=body.reason,
            created_at=now,
            created_by=caller.key_id,
        )
        await editor.add(correction, None)
        _require_something_left((0, await editor.spent(key.id, correction.period_start)))
        return correction


def _require_something_left(worth: tuple[Micros, Micros]) -> None:
    for amount, field in zip(worth, ("cost_change_usd", "price_change_usd"), strict=True):
        if amount < 0:
            raise Invalid("would leave less than nothing", param=field)


def _past(moment: datetime | None, now: float) -> float:
    at = now if moment is None else moment.timestamp()
    if not 0 <= at <= now:
        raise Invalid("must lie in the past", param="at")
    return at


def _known(given: str | None, what: str) -> str:
    try:
        decode(given or "")
    except ValueError as error:
        raise NotFound(f"there is no {what} {(given or '')[:40]!r}") from error
    return given or ""


def _told(correction: Correction) -> dict[str, object]:
    """What the audit log keeps."""
    return {
        "id": correction.id,
        "record_id": correction.record_id,
        "period_start": correction.period_start,
        "cost_change_usd": to_usd(correction.cost_micros),
        "price_change_usd": to_usd(correction.price_micros),
        "reason": correction.reason,
    }


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)
