"""Admission: rate, concurrency and budget in one atomic step, before anything is spent.

What is reserved bounds the price. A token is at least one byte of text, so the prompt has at most as many tokens as the
body has bytes (files in it, which tell nothing of tokens, left out), plus an allowance per message, tool and image for
what a provider adds around them. Output is bounded by
what the caller asked for, or by a limit that is then set upstream.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from polyforge.gateway.job import Job
from polyforge.gateway.limiting import Limiting, amounts_of, explain, too_little
from polyforge.gateway.settings import GatewaySettings
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import BudgetSpent, Denied, PolyforgeError, RateLimited, Unavailable
from polyforge.kernel.money import Micros, to_usd
from polyforge.kernel.tasks import InferenceRequest
from polyforge.registry.catalog import Deployment
from polyforge.registry.tariffs import Tariff
from polyforge.tenancy.callers import Caller, KeyLimits
from polyforge.tenancy.ledger.counters import Headroom, Refusal
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import NOTHING_SPENT, Balance, Intent
from polyforge.tenancy.limits.book import Rules
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Over, Take
from polyforge.tenancy.limits.deposits import Deposit
from polyforge.tenancy.limits.lanes import Lane, LanedCounters
from polyforge.tenancy.periods import PeriodClock

PART_TOKENS: Final = 16
IMAGE_TOKENS: Final = 50_000
_BYTES_PER_TOKEN: Final = 4
_HEADROOM_SHARE: Final = 4
_LEAST_OUTPUT: Final = 16

Spent = Callable[[str, int], Awaitable[Balance]]
"""What the ledger says a key spent in the period that began at a second."""


class Admission:
    """Lets a job in, or says which limit stands in its way."""

    def __init__(
        self,
        settings: GatewaySettings,
        counters: LimitCounters,
        limiting: Limiting,
        journal: Journal,
        spent: Spent,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._limiting = limiting
        self._book = limiting.book
        self._counters = counters
        self._lanes = counters if isinstance(counters, LanedCounters) else None
        self._journal = journal
        self._spent = spent
        self._clock = clock
        self._periods = PeriodClock()
        self._latest = 0.0

    async def admit(self, job: Job) -> None:
        """Reserve for the job and write its intent down; RateLimited, BudgetSpent, Denied or Unavailable otherwise."""
        if self._journal.unsettled >= self._settings.max_in_flight:
            raise Unavailable("the gateway holds as many requests as it may; try again shortly", retry_after=1.0)
        if self._counters.apart:
            await self._counters.join()
        limits = job.caller.limits
        rules = self._book.find(job.caller, job.request.model) if self._book.any else None
        if job.judging and rules is not None:
            rules = rules.of_money()
        slot_name = ""
        if limits.any:
            # A call that took long to arrive must not begin an earlier period again: what this one spent would be lost.
            self._latest = max(self._latest, job.started_at)
            job.period = self._periods.start(limits.period, self._latest)
            slot_name = limits.period[0] + job.caller.key_id
            slot = self._counters.find(slot_name)
            if slot is None:
                known = NOTHING_SPENT if limits.budget is None else await self._spent(job.caller.key_id, job.period)
                slot = self._counters.create(slot_name, job.period, known.spent, known.corrected)
            if rules is None:
                self._reserve(job, limits, slot)
            else:
                await self._reserve_ruled(job, rules, limits, slot)
        elif rules is None:
            self._check_priced(job)
        else:
            await self._reserve_ruled(job, rules, limits, -1)
        self._write_intent(job, slot_name)

    async def lend_ceilings(self, job: Job) -> None:
        """Have what an attempt at each provider may need of its limits. The job is let in: it has to be settled."""

    async def hold(self, caller: Caller, amount: Micros) -> Deposit:
        """Hold so much of every budget that all calls of a caller count for, or of none: BudgetSpent then.

        Unavailable as long as nobody knows what is left of them.
        """
        if amount <= 0:
            return Deposit(self._counters, 0, ())
        counters, slot, period = await self._budgets_of(caller)
        limits, takes = _money_of(caller.limits), [Take(each, amount) for each in counters]
        outcome = self._counters.hold_many(takes, self._clock.now(), slot, limits, period, amount)
        if isinstance(outcome, Over):
            raise too_little(outcome.counter, amount)
        if isinstance(outcome, Refusal):
            raise _too_little_of_key(limits, amount)
        return Deposit(self._counters, amount, outcome)

    async def check(self, caller: Caller, amount: Micros) -> None:
        """BudgetSpent where it is clear by now that so much cannot be held; nothing is held by this."""
        counters, slot, period = await self._budgets_of(caller)
        now = self._clock.now()
        for each in counters:
            if self._counters.left(each, now) < amount:
                raise too_little(each, amount)
        if slot >= 0 and self._counters.headroom(slot, caller.limits, period) < amount:
            raise _too_little_of_key(caller.limits, amount)

    async def _budgets_of(self, caller: Caller) -> tuple[Sequence[Counter], int, int]:
        """What counts the money of all calls of a caller: limits, and the slot and period of its key's budget."""
        if self._counters.apart:
            await self._counters.join()
        counters = [each for each in self._book.counters_of_money(caller) if each.limit.hard]
        await self._book.ready(counters)
        limits = caller.limits
        if limits.budget is None:
            return counters, -1, 0
        self._latest = max(self._latest, self._clock.now())
        name, period = limits.period[0] + caller.key_id, self._periods.start(limits.period, self._latest)
        slot = self._counters.find(name)
        if slot is None:
            known = await self._spent(caller.key_id, period)
            slot = self._counters.create(name, period, known.spent, known.corrected)
        return counters, slot, period

    def _write_intent(self, job: Job, slot_name: str) -> None:
        caller, request, lane = job.caller, job.request, job.lane
        if lane is None:
            holds = self._limiting.holds_of(job.takes) if job.takes else ()
        else:
            holds = lane.holds(job.reserved, job.token_bound, job.reserved_tokens)
        intent = Intent(
            job.id,
            caller.key_id,
            caller.organization_id,
            caller.project_id,
            request.task,
            request.model,
            job.started_at,
            job.period,
            slot_name,
            job.reserved,
            request.stream,
            caller.user_id or "",
            request.end_user,
            ",".join(job.tags),
            holds,
        )
        try:
            self._journal.intend(intent)
        except PolyforgeError:
            if job.deposit is not None:
                job.deposit.put_back(job.drawn)
            if lane is not None:
                job.takes = lane.takes(lane.ticks, amounts_of(job))
            if job.slot >= 0:
                self._counters.release(job.slot, job.period, job.reserved)
            self._counters.release_many(job.takes, self._clock.now())
            raise

    def _check_priced(self, job: Job) -> None:
        for deployment in job.model.deployments:
            _tariff(deployment)

    def _reserve(self, job: Job, limits: KeyLimits, slot: int) -> None:
        request, deposit = job.request, job.deposit
        if limits.budget is None:
            self._check_priced(job)
        else:
            is_open = request.output_limit is None
            if deposit is None or not is_open:
                room = self._counters.headroom(slot, limits, job.period) if is_open else None
            else:
                room = deposit.seen(lambda: self._counters.headroom(slot, limits, job.period))
            self._bound(job, None, room, money=True)
        if limits.tpm is not None:
            text = len(request.body) - request.binary
            job.reserved_tokens = text // _BYTES_PER_TOKEN + (request.output_limit or 0) * request.choices
        if deposit is not None:
            job.drawn = deposit.draw(job.reserved, (slot,))
        outcome = self._counters.reserve(slot, limits, self._clock.now(), job.period, job.reserved, job.reserved_tokens)
        if isinstance(outcome, Refusal):
            if deposit is not None:
                deposit.put_back(job.drawn)
            job.headroom = outcome.headroom
            raise self._explain(outcome, limits, job.started_at)
        job.slot = slot
        job.headroom = outcome

    async def _reserve_ruled(self, job: Job, rules: Rules, limits: KeyLimits, slot: int) -> None:
        """Reserve of every limit that the job counts for and of its key's own (`slot` -1: it has none), or of none."""
        request, measures = job.request, rules.measures
        counters = rules.counters if rules.ready else await self._limiting.counters_of(job, rules)
        held = counters
        if job.ceilings:
            held += tuple(each for theirs in job.ceilings.values() for each in theirs)
        tokens, money = "tokens" in measures, limits.budget is not None or "money" in measures
        if not money:
            self._check_priced(job)
        if tokens or money:
            is_open = request.output_limit is None
            tokens_left = self._limiting.left(held, "tokens") if is_open and tokens else None
            money_left = None
            if is_open and money:
                if job.deposit is None:
                    money_left = self._room(job, held, limits, slot)
                else:
                    money_left = job.deposit.seen(partial(self._room, job, held, limits, slot))
            self._bound(job, tokens_left, money_left, money=money)
        if tokens or limits.tpm is not None:
            text = len(request.body) - request.binary
            job.reserved_tokens = text // _BYTES_PER_TOKEN + (request.output_limit or 0) * request.choices
        if job.judging or job.deposit is not None or not rules.ready:
            self._take(job, self._limiting.takes_of(job, counters), limits, slot)
        else:
            self._enter_or_take(job, rules, limits, slot)

    def _enter_or_take(self, job: Job, rules: Rules, limits: KeyLimits, slot: int) -> None:
        """Let a job in by what was lent in one step; else ask its counters, which may lend more for those to come."""
        if rules.lane is not None and self._enter(job, rules.lane):
            return
        self._take(job, self._limiting.takes_of(job, rules.counters), limits, slot)
        if self._lanes is None:
            return
        lane = rules.lane = rules.lane or self._lanes.lane_of(rules.counters, slot, limits)
        if self._lanes.open_lane(lane, amounts_of(job), self._clock.now(), job.period):
            job.lane, job.windows, job.takes = lane, lane.windows, []

    def _enter(self, job: Job, lane: Lane) -> bool:
        """Let a job in by what was lent in one step; False where its counters have to be asked."""
        now = self._clock.now()
        if not lane.take(now, job.period, job.reserved, job.token_bound, job.reserved_tokens):
            lane.close()
            return False
        job.slot, job.lane, job.windows, job.headroom = lane.slot, lane, lane.windows, lane.headroom(now)
        return True

    def _room(self, job: Job, held: Sequence[Counter], limits: KeyLimits, slot: int) -> Micros | None:
        """How much money is left where least is; None: nothing limits it for good."""
        room = self._limiting.left(held, "money")
        if limits.budget is None:
            return room
        own = self._counters.headroom(slot, limits, job.period)
        return own if room is None else min(own, room)

    def _take(self, job: Job, takes: list[Take], limits: KeyLimits, slot: int) -> None:
        now, deposit = self._clock.now(), job.deposit
        tokens = 0 if limits.tpm is None else job.reserved_tokens
        if deposit is not None:
            job.drawn = deposit.draw(job.reserved, _slots_of_money(takes, slot))
        outcome = self._counters.reserve_many(takes, now, slot, limits, job.period, job.reserved, tokens)
        if not isinstance(outcome, Headroom):
            if deposit is not None:
                deposit.put_back(job.drawn)
            job.headroom = outcome.headroom
            raise explain(outcome) if isinstance(outcome, Over) else self._explain(outcome, limits, job.started_at)
        job.slot, job.takes, job.headroom = slot, takes, outcome
        if deposit is not None:
            deposit.write()

    def _bound(self, job: Job, tokens_left: int | None, money_left: Micros | None, *, money: bool) -> None:
        """Note the most tokens and the most `money` that the job can come to.

        Sets the output limit where the caller left it open, by what is left; None: nothing limits it.
        """
        request, output, places = job.request, job.request.output_limit, job.model.deployments
        if output is None:
            output = job.output_limit = self._output(request, places, tokens_left, money_left)
        choices, tries = request.choices, request.tries
        tokens = price = 0
        for place in places:
            asked, answered = _input_bound(request, place), choices * _capped(output, place)
            # Each try is shown the answers before it.
            tokens = max(tokens, tries * asked + tries * (tries + 1) // 2 * answered)
            if money:
                price = max(price, _price_bound(place, request, asked, answered))
        job.token_bound, job.reserved = tokens, price

    def _output(
        self,
        request: InferenceRequest,
        places: Sequence[Deployment],
        tokens_left: int | None,
        money_left: Micros | None,
    ) -> int:
        """Output tokens per choice where nobody asked."""
        output = min(self._open_output(request, place, money_left) for place in places)
        if tokens_left is None:
            return output
        asked = max(_input_bound(request, place) for place in places)
        share = (tokens_left - asked) // _HEADROOM_SHARE // (request.choices * request.tries)
        return min(output, max(_LEAST_OUTPUT, share))

    def _open_output(self, request: InferenceRequest, place: Deployment, headroom: Micros | None) -> int:
        """Output tokens per choice where nobody asked: the limit, or what a share of the headroom pays for.

        A share, so that one call does not hold the whole budget back from the others.
        """
        most = self._most_output(place)
        if headroom is None:
            return most
        affordable = _tariff(place).affordable_output(
            _input_bound(request, place), headroom // _HEADROOM_SHARE, request.units
        )
        if affordable is None:
            return most
        return min(most, max(_LEAST_OUTPUT, affordable // (request.choices * request.tries)))

    def _most_output(self, place: Deployment) -> int:
        return self._settings.default_output_tokens if place.output is None else place.output

    def _explain(self, refusal: Refusal, limits: KeyLimits, now: float) -> PolyforgeError:
        if refusal.limit == "budget":
            ends = self._periods.end(limits.period, now)
            until = "" if ends == float("inf") else f"; it starts again in {int(ends - now) // 60 + 1} minutes"
            return BudgetSpent(f"the budget of this key, {_budget_of(limits)}, is used up{until}")
        if refusal.limit == "concurrency":
            return RateLimited(
                f"this key may have {limits.concurrency} requests in flight", retry_after=refusal.retry_after
            )
        limit, what = (limits.rpm, "requests") if refusal.limit == "rpm" else (limits.tpm, "tokens")
        return RateLimited(f"this key may use {limit} {what} per minute", retry_after=refusal.retry_after)


def _money_of(limits: KeyLimits) -> KeyLimits:
    return KeyLimits(budget=limits.budget, period=limits.period)


def _slots_of_money(takes: Iterable[Take], slot: int) -> list[int]:
    return [*(take.counter.slot for take in takes if take.counter.measure == "money"), slot]


def _too_little_of_key(limits: KeyLimits, amount: Micros) -> BudgetSpent:
    return BudgetSpent(f"the budget of this key, {_budget_of(limits)}, has less left than {to_usd(amount):g} USD")


def _budget_of(limits: KeyLimits) -> str:
    per = "in all" if limits.period == "total" else f"per {limits.period}"
    return f"{to_usd(limits.budget or 0):g} USD {per}"


def _tariff(deployment: Deployment) -> Tariff:
    if deployment.price is None:
        raise Denied(
            f"nobody declared what {deployment.model!r} costs, and gateway.unknown_price is `refuse`; "
            "declare its cost or price in the settings"
        )
    return deployment.price


def _price_bound(place: Deployment, request: InferenceRequest, asked: int, answered: int) -> Micros:
    tariff = _tariff(place)
    if request.tries == 1:
        return tariff.bound(asked, answered, request.units)
    # Each try is shown the answers before it.
    return sum([tariff.bound(asked + turn * answered, answered, request.units) for turn in range(request.tries)])


def _input_bound(request: InferenceRequest, place: Deployment) -> int:
    bound = len(request.body) - request.binary + PART_TOKENS * request.parts + IMAGE_TOKENS * request.images
    return bound if place.context is None else min(bound, place.context)


def _capped(limit: int, place: Deployment) -> int:
    return limit if place.output is None else min(limit, place.output)
