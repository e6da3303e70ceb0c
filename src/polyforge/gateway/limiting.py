"""Limits on the path of a request: what a call asks of each, what a refusal says, and providers', by attempt."""

from collections.abc import Sequence
from typing import Final

from polyforge.gateway.job import Job
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import BudgetSpent, LimitReached, PolyforgeError
from polyforge.kernel.money import Micros, to_usd
from polyforge.registry.catalog import Deployment
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import Hold
from polyforge.tenancy.limits.book import LimitBook, Rules
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Over, Take
from polyforge.tenancy.limits.records import Limit
from polyforge.tenancy.limits.windows import NEVER, rolling_seconds

_WHAT: Final = {"requests": "requests", "tokens": "tokens", "concurrency": "requests in flight"}
_PER: Final = {"total": "in all", "": "at once"}


class Limiting:
    """What jobs hold of limits."""

    def __init__(self, book: LimitBook, counters: LimitCounters, journal: Journal, clock: Clock) -> None:
        self.book = book
        self._counters = counters
        self._journal = journal
        self._clock = clock

    async def counters_of(self, job: Job, rules: Rules) -> tuple[Counter, ...]:
        """The counters of a call, ready; and of each provider that may answer it, which are noted on the job."""
        book, counters = self.book, rules.counters
        if rules.end_users and job.request.end_user:
            counters += tuple(book.counters_of(rules.end_users, job.request.end_user))
        await book.ready(counters)
        rules.ready = not (rules.end_users or rules.providers)
        if rules.providers:
            for provider in {place.provider for place in job.model.deployments}:
                theirs = tuple(book.counters_of(rules.providers, provider))
                await book.ready(theirs)
                if theirs:
                    job.ceilings = {**job.ceilings, provider: theirs}
        return counters

    def left(self, counters: Sequence[Counter], measure: str) -> int | None:
        """What is left of the tightest of these that counts in this measure; None: there is none.

        Not of tokens in a window that rolls: a call may be larger than these.
        """
        now = self._clock.now()
        held = [each for each in counters if each.measure == measure and each.limit.hard]
        held = [each for each in held if measure == "money" or not each.tick_seconds]
        return min((self._counters.left(each, now) for each in held), default=None)

    def takes_of(self, job: Job, counters: Sequence[Counter]) -> list[Take]:
        """What a job asks of counters, once its bounds are known."""
        amounts = amounts_of(job)
        return [Take(counter, amounts[counter.asks]) for counter in counters]

    def holds_of(self, takes: Sequence[Take]) -> tuple[Hold, ...]:
        """What the journal keeps of them: what a killed process would have to be charged with."""
        return tuple(
            [
                Hold(take.counter.name, take.counter.measure, take.window, take.amount)
                for take in takes
                if take.counter.kept
            ]
        )

    # Providers

    def wait_for(self, job: Job, deployment: Deployment) -> float:
        """Seconds until a deployment's provider has room for a job; 0: it has."""
        now, counters = self._clock.now(), job.ceilings.get(deployment.provider, ())
        return max((self._counters.wait_for(each, asked(job, each), now) for each in counters), default=0.0)

    def begin_attempt(self, job: Job, deployment: Deployment) -> None:
        """Take what an attempt asks of its provider's limits, instead of what the one before took.

        LimitReached when there is no room, Unavailable when it cannot be written down.
        """
        held = bool(job.attempt_takes)
        self.end_attempt(job)
        counters = job.ceilings.get(deployment.provider)
        if counters is None:
            if held:
                self._journal.hold(job.id, self.holds_of(job.takes))
            return
        now, takes = self._clock.now(), self.takes_of(job, counters)
        outcome = self._counters.reserve_many(takes, now)
        if isinstance(outcome, Over):
            whose = _whose(outcome.counter)
            raise LimitReached(f"{whose} has no room for now", retry_after=finite(outcome.retry_after))
        try:
            self._journal.hold(job.id, self.holds_of([*job.takes, *takes]))
        except PolyforgeError:
            self._counters.release_many(takes, now)
            raise
        job.attempt_takes = takes

    def end_attempt(self, job: Job) -> None:
        """An attempt came to nothing: it was a request to its provider, and no more."""
        if job.attempt_takes:
            self._counters.end_many(job.attempt_takes, self._clock.now())
            job.attempt_takes = []


def asked(job: Job, counter: Counter) -> int:
    """What a job may come to in what a counter counts."""
    return amounts_of(job)[counter.asks]


def amounts_of(job: Job) -> tuple[int, int, int, int]:
    """What a job may come to, each at the place that counters know it by."""
    return 1, job.reserved, job.token_bound, job.reserved_tokens


def explain(over: Over) -> PolyforgeError:
    """What a caller is told: whose limit, on what, and when it starts again."""
    limit, wait = over.counter.limit, over.retry_after
    whose = _whose(over.counter)
    if finite(wait) is None:
        return BudgetSpent(f"{whose}, {_amount(limit)}, is used up")
    if limit.measure == "money":
        return BudgetSpent(f"{whose}, {_amount(limit)}, is used up; it starts again in {int(wait) // 60 + 1} minutes")
    if limit.measure == "concurrency":
        return LimitReached(f"{whose} allows {_amount(limit)}", retry_after=wait)
    told = f"{whose} allows {_amount(limit)}; there is room again in {int(wait) + 1} s"
    return LimitReached(told, retry_after=wait)


def too_little(counter: Counter, amount: Micros) -> BudgetSpent:
    """What is told where so much cannot be held of a budget."""
    whose = _whose(counter)
    return BudgetSpent(f"{whose}, {_amount(counter.limit)}, has less left than {to_usd(amount):g} USD")


def finite(wait: float) -> float | None:
    """Seconds to wait, None where waiting changes nothing."""
    return None if wait == NEVER else max(0.1, wait)


def _whose(counter: Counter) -> str:
    return f"the limit {counter.limit.name!r} of {_subject(counter.limit, counter.subject_id)}"


def _subject(limit: Limit, subject_id: str) -> str:
    kind = limit.subject.replace("_", " ")
    return f"this {kind}" if limit.subject in ("organization", "project", "key", "user") else f"{kind} {subject_id!r}"


def _amount(limit: Limit) -> str:
    amount = f"{to_usd(limit.amount):g} USD" if limit.measure == "money" else f"{limit.amount} {_WHAT[limit.measure]}"
    seconds = rolling_seconds(limit.window)
    if seconds and limit.window != "minute":
        return f"{amount} in {seconds} s"
    return f"{amount} {_PER.get(limit.window) or f'per {limit.window}'}"
