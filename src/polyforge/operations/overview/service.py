"""The overview of everything, for one caller: what the machine, its project and its own budgets look like now.

Each part is looked at every two seconds at most, however many ask; nothing of it is on the path of a request. A part
that cannot be told because the database is down is left out, and the database is among what needs attention.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from polyforge.database.scopes import Scope
from polyforge.gateway.hosting.service import HostedService
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.kernel.clock import Clock, utc
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.money import to_usd
from polyforge.operations.overview import attention
from polyforge.operations.overview.fresh import Fresh
from polyforge.operations.overview.machine import Machine, MachineFacts
from polyforge.operations.overview.schemas import (
    BudgetView,
    ComponentView,
    CoolingView,
    DayView,
    DeploymentsView,
    HourView,
    MinuteView,
    ModelToday,
    Overview,
    State,
    TrafficView,
)
from polyforge.operations.overview.traffic import Minute, percentile, total
from polyforge.operations.overview.window import TrafficWindow
from polyforge.registry.catalog import Model
from polyforge.registry.deployments.records import FailedServing
from polyforge.registry.versions.service import ModelRegistry
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.keys import ApiKey
from polyforge.tenancy.ledger_minutes import MINUTE_SECONDS
from polyforge.tenancy.ledger_rows import DAY_SECONDS, HOUR_SECONDS
from polyforge.tenancy.limits.own import OwnBudget, OwnBudgets
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.usage.questions import Question
from polyforge.tenancy.usage.service import UsageService
from polyforge.tenancy.usage.sums import UsageSummary, Used

FRESH_SECONDS: Final = 2.0
MOST_KEPT: Final = 500
MOST_LISTED: Final = 50
TOP_MODELS: Final = 5
_MILLISECONDS: Final = 1000
_WORST_FIRST: Final[tuple[State, ...]] = ("down", "degraded", "ok")
_SEES_COMPONENTS: Final = "metrics:read"
_SEES_USAGE: Final = "usage:read"
_SEES_KEYS: Final = "keys:read"

Found = TypeVar("Found")


class _Day(msgspec.Struct, frozen=True):
    since: float
    until: float
    used: Used


class _Traffic(msgspec.Struct, frozen=True):
    hour: list[tuple[int, Minute]]
    today: UsageSummary
    yesterday: _Day


class Sources(msgspec.Struct, frozen=True):
    """Who is asked. `console_built` tells whether this installation has the console's pages."""

    machine: Machine
    window: TrafficWindow
    usage: UsageService
    keys: KeyService
    registry: ModelRegistry
    hosted: HostedService | None
    budgets: OwnBudgets
    lineups: Lineups
    console_built: Callable[[], bool]


class OverviewService:
    """Puts the parts together for each caller."""

    def __init__(self, sources: Sources, clock: Clock) -> None:
        self._from = sources
        self._clock = clock
        self._machine: Fresh[None, MachineFacts] = Fresh("looks at the machine", clock, FRESH_SECONDS, 1)
        self._traffic: Fresh[Scope, _Traffic] = Fresh("sums of projects", clock, FRESH_SECONDS, MOST_KEPT)
        self._keys: Fresh[Scope, list[ApiKey]] = Fresh("keys of projects", clock, FRESH_SECONDS, MOST_KEPT)
        self._failing: Fresh[Scope, list[FailedServing]] = Fresh("models of projects", clock, FRESH_SECONDS, MOST_KEPT)
        self._budgets: Fresh[tuple[str, Scope], list[OwnBudget]] = Fresh("budgets", clock, FRESH_SECONDS, MOST_KEPT)

    async def close(self) -> None:
        """Stop what is under way."""
        for each in (self._machine, self._traffic, self._keys, self._failing, self._budgets):
            await each.close()

    async def look(self, caller: Caller) -> Overview:
        """How everything does now, as far as the caller may know."""
        scope = Scope(caller.organization_id, caller.project_id)
        machine, traffic, keys, failing, hosted, budgets = await asyncio.gather(
            self._machine.get(None, self._from.machine.look),
            self._if_may(caller, _SEES_USAGE, lambda: self._traffic.get(scope, lambda: self._sums(caller, scope))),
            self._if_may(caller, _SEES_KEYS, lambda: self._keys.get(scope, lambda: self._expiring(caller))),
            _unless_down(self._failing.get(scope, lambda: self._from.registry.failing(caller, MOST_LISTED))),
            self._failed_models(caller),
            _unless_down(self._budgets.get((caller.key_id, scope), lambda: self._from.budgets.of(caller))),
        )
        lineup, now = self._from.lineups.current, self._clock.now()
        models = [model for model in lineup.catalog.listed(caller.project_id) if caller.may_use(model.name)]
        deployments = _deployments(models, lineup, now)
        operator = caller.may(_SEES_COMPONENTS)
        items = [
            *(attention.of_components(machine.components) if operator else ()),
            *(attention.of_drops(machine.dropped) if operator else ()),
            *attention.of_budgets(budgets or ()),
            *attention.of_failed_servings([each for each in failing or () if caller.may_use(each.model)]),
            *attention.of_failed_models(hosted),
            *attention.of_cooling(deployments.cooling_now),
            *attention.of_keys(keys or (), now),
            *attention.of_models(models),
            *([] if self._from.console_built() else [attention.of_console()]),
        ]
        return Overview(
            at=utc(now),
            state=_worst(machine.components) if operator else "ok",
            attention=attention.sorted_by_severity(items),
            components=list(machine.components) if operator else None,
            deployments=deployments,
            traffic=None if traffic is None else _traffic_view(traffic),
            budgets=[_budget_view(each) for each in budgets or ()],
        )

    async def _if_may(self, caller: Caller, permission: str, look: Callable[[], Awaitable[Found]]) -> Found | None:
        return await _unless_down(look()) if caller.may(permission) else None

    async def _sums(self, caller: Caller, scope: Scope) -> _Traffic:
        midnight = self._clock.now() // DAY_SECONDS * DAY_SECONDS
        today = await self._from.usage.report(caller, Question(("model",)), utc(midnight), None)
        return _Traffic(await self._from.window.read(scope), today, await self._yesterday(caller, scope))

    async def _yesterday(self, caller: Caller, scope: Scope) -> _Day:
        """Up to the same minute of the day: from whole hours, and the minutes after them."""
        until = (self._clock.now() - DAY_SECONDS) // MINUTE_SECONDS * MINUTE_SECONDS
        since, hour = until // DAY_SECONDS * DAY_SECONDS, until // HOUR_SECONDS * HOUR_SECONDS
        whole = await self._from.usage.report(caller, Question(), utc(since), utc(hour))
        return _Day(since, until, whole.totals + await self._from.window.used(scope, hour, until))

    async def _expiring(self, caller: Caller) -> list[ApiKey]:
        return await self._from.keys.expiring(caller, attention.SOON_SECONDS, MOST_LISTED)

    async def _failed_models(self, caller: Caller) -> dict[str, str]:
        hosted = self._from.hosted
        found = None if hosted is None else await _unless_down(hosted.failed(caller))
        return found or {}


async def _unless_down(looking: Awaitable[Found]) -> Found | None:
    """What is found; None where what is asked does not answer, which the state of the components tells of."""
    try:
        return await looking
    except PolyforgeError:
        return None


def _worst(components: tuple[ComponentView, ...]) -> State:
    states = {each.state for each in components}
    found: list[State] = [state for state in _WORST_FIRST if state in states]
    return found[0] if found else "ok"


def _deployments(models: list[Model], lineup: Lineup, now: float) -> DeploymentsView:
    cooling: list[CoolingView] = []
    ready = 0
    for model in models:
        for place in model.deployments:
            wait = lineup.health.cooling_until(place.index) - now
            if wait <= 0:
                ready += 1
                continue
            cooling.append(
                CoolingView(
                    model=model.name,
                    provider=place.provider,
                    deployment=place.model,
                    cause=lineup.health.cause(place.index),
                    seconds=round(wait, 1),
                )
            )
    return DeploymentsView(ready=ready, cooling=len(cooling), cooling_now=cooling[:MOST_LISTED])


def _traffic_view(traffic: _Traffic) -> TrafficView:
    rows = sorted(traffic.today.rows, key=lambda row: (-row.used.price_micros, -row.used.requests, row.labels))
    return TrafficView(
        hour=_hour(traffic.hour),
        today=_day(traffic.today.since, traffic.today.until, traffic.today.totals),
        yesterday=_day(traffic.yesterday.since, traffic.yesterday.until, traffic.yesterday.used),
        top_models=[
            ModelToday(
                model=str(row.labels[0]),
                requests=row.used.requests,
                errors=row.used.errors,
                total_tokens=row.used.input_total + row.used.output_tokens,
                price_usd=to_usd(row.used.price_micros),
            )
            for row in rows[:TOP_MODELS]
        ],
    )


def _hour(minutes: list[tuple[int, Minute]]) -> HourView:
    whole = total(calls for _, calls in minutes)
    return HourView(
        since=_moment(minutes[0][0]),
        requests=whole.requests,
        errors=whole.errors,
        refused=whole.refused,
        input_tokens=whole.input_tokens,
        output_tokens=whole.output_tokens,
        p50_ms=percentile(whole.steps, 0.5),
        p95_ms=percentile(whole.steps, 0.95),
        minutes=[_minute(number, calls) for number, calls in minutes],
    )


def _minute(number: int, calls: Minute) -> MinuteView:
    return MinuteView(
        at=_moment(number),
        requests=calls.requests,
        errors=calls.errors,
        refused=calls.refused,
        input_tokens=calls.input_tokens,
        output_tokens=calls.output_tokens,
        p50_ms=percentile(calls.steps, 0.5),
        p95_ms=percentile(calls.steps, 0.95),
    )


def _moment(minute: int) -> datetime:
    return utc(minute * MINUTE_SECONDS)


def _day(since: float, until: float, used: Used) -> DayView:
    return DayView(
        since=utc(since),
        until=utc(until),
        requests=used.requests,
        errors=used.errors,
        input_tokens=used.input_total,
        output_tokens=used.output_tokens,
        mean_seconds=round(used.duration_ms / used.requests / _MILLISECONDS, 3) if used.requests else 0.0,
        cost_usd=to_usd(used.cost_micros),
        price_usd=to_usd(used.price_micros),
    )


def _budget_view(each: OwnBudget) -> BudgetView:
    return BudgetView(
        kind="key" if each.limit is None else "limit",
        id=each.id,
        name=each.name,
        subject=each.subject,
        subject_id=each.subject_id,
        window=each.window,
        amount_usd=to_usd(each.amount),
        used_usd=to_usd(each.used),
        left_usd=to_usd(max(0, each.amount - each.used)),
        percent=round(100 * each.used / each.amount, 2) if each.amount > 0 else 100.0,
        hard=each.hard,
        starts_again=None if each.starts_again is None else utc(each.starts_again),
    )
