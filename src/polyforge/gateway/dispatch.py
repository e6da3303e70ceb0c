"""Dispatch: walk the attempts under one deadline. The only retry loop in the house.

It goes on to the next deployment only before the first content; after that a failure is the caller's to see.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import Final, NamedTuple

import msgspec
from typing_extensions import AsyncGenerator

from polyforge.dialects.parameters import unsupported, without_unsupported
from polyforge.egress.deadlines import Deadline
from polyforge.gateway.health import Cause, Health
from polyforge.gateway.job import Attempt, Job
from polyforge.gateway.limiting import Limiting, finite
from polyforge.gateway.routing import NO_NEEDS, Misfit, Plan, larger, misfit, needs_of, plan
from polyforge.gateway.settings import GatewaySettings
from polyforge.gateway.wishes import ROUTE_HEADER
from polyforge.kernel.chat import ChatRequest
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import (
    BrokenOff,
    Invalid,
    LimitReached,
    ModelFailed,
    ModelNotFound,
    NotConfigured,
    NotSupported,
    PolyforgeError,
    QuotaSpent,
    RateLimited,
    TimedOut,
    Unavailable,
    Unsupported,
    UpstreamDenied,
    UpstreamRefused,
)
from polyforge.ports.provider import Call, Provider, Reply, StreamEvent, Timeouts
from polyforge.registry.catalog import Deployment
from polyforge.telemetry.logs import get_logger
from polyforge.upstreams.refusals import CONTEXT_CODE

_STREAK: Final = 3
_BACKOFF_SECONDS: Final = 0.2
_LONGEST_COOLDOWN: Final = 60.0
_FAILED_SECONDS: Final = 2.0
"""A failure counts as an answer that took at least so long, so that failing quickly does not look quick."""
_MISFITS: Final[dict[Misfit, str]] = {
    "images": "takes images or files",
    "tools": "can be offered tools",
    "structured_output": "can follow a JSON schema",
}
_NANO: Final = 1_000_000_000
_NO_FAULTS: Final = (NotConfigured, LimitReached, ModelFailed, ModelNotFound, NotSupported)
_CANONICAL: Final = frozenset({"chat", "completion"})
_log = get_logger(__name__)


class Opened(NamedTuple):
    """A stream that has reached its first content."""

    first: list[StreamEvent]
    rest: AsyncGenerator[list[StreamEvent]]


class Dispatch:
    """Carries out plans against the providers and remembers which deployments fail."""

    def __init__(
        self,
        settings: GatewaySettings,
        providers: Mapping[str, Provider],
        health: Health,
        limiting: Limiting,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._limiting = limiting
        self._providers = providers
        self._health = health
        self._clock = clock
        self._streaks: dict[int, int] = {}
        limits = settings.timeouts
        self._timeouts = Timeouts(limits.connect, limits.first_token, limits.idle, limits.total)

    def route(self, job: Job) -> Plan:
        """The attempts to make for a job; Invalid when no deployment fits.

        Unavailable, with the soonest recovery, when every one that fits cools down; RateLimited when all of them do so
        because of too many requests.
        """
        now, model = self._clock.now(), job.model
        needs = NO_NEEDS if model.simple and job.wish is None else needs_of(job.request, job.wish)
        found = plan(model, needs, self._health, now, random.random, self._settings.attempts)
        if found.attempts:
            return self._within(job, found) if job.ceilings else found
        if not found.waiting:
            raise _no_fit(model.name, [misfit(place, needs) for place in model.deployments])
        wait = max(0.1, found.recovers_at - now)
        if all(self._health.cause(place.index) != "failure" for place in found.waiting):
            raise RateLimited(f"every deployment of {model.name!r} has had too many requests", retry_after=wait)
        raise Unavailable(f"every deployment of {model.name!r} is cooling down", retry_after=wait)

    def _within(self, job: Job, found: Plan) -> Plan:
        """What is left of a plan once providers are passed over whose limits have no room for the job."""
        places = found.attempts + found.beyond
        waits = [self._limiting.wait_for(job, place) for place in places]
        ready = tuple(place for place, wait in zip(places, waits, strict=True) if wait <= 0)
        if not ready:
            every = f"every provider of {job.model.name!r} has reached a limit that was set here"
            raise LimitReached(every, retry_after=finite(min(waits)))
        most = self._settings.attempts
        return Plan(ready[:most], ready[most:])

    async def send(self, job: Job, found: Plan) -> Reply:
        """The whole answer of the first deployment that gives one."""
        for turn in range(self._settings.attempts):
            deployment = self._choose(found, turn)
            provider, started = self._providers[deployment.provider], _begin_attempt(job, deployment)
            try:
                if job.ceilings:
                    self._limiting.begin_attempt(job, deployment)
                reply = await provider.send(self._call(job, deployment, provider, started))
            except PolyforgeError as error:
                _end_wait(job)
                found = await self._fail(job, found, turn, error)
                continue
            _end_wait(job)
            self._answered(job, deployment)
            return reply
        raise AssertionError("the last attempt either returns or raises")

    async def stream(self, job: Job, found: Plan) -> Opened:
        """The stream of the first deployment that reaches its first content, with what came until then.

        The caller of this reads on from `rest`, closes it, and tells `broke` when it fails.
        """
        for turn in range(self._settings.attempts):
            deployment = self._choose(found, turn)
            provider, started = self._providers[deployment.provider], _begin_attempt(job, deployment)
            events: AsyncGenerator[list[StreamEvent]] | None = None
            try:
                if job.ceilings:
                    self._limiting.begin_attempt(job, deployment)
                events = provider.stream(self._call(job, deployment, provider, started))
                first = await _until_content(events)
            except PolyforgeError as error:
                _end_wait(job)
                found = await self._fail(job, found, turn, error)
            except BaseException:
                if events is not None:
                    await events.aclose()
                raise
            else:
                job.first_token_ns = _end_wait(job)
                job.media_type = first[0].media_type
                self._answered(job, deployment)
                return Opened(first, events)
        raise AssertionError("the last attempt either returns or raises")

    def broke(self, job: Job, error: PolyforgeError) -> None:
        """A stream failed after its first content: nobody else can go on with it, but its deployment is remembered."""
        self._note(job, job.attempts[-1].deployment, error)

    def _choose(self, found: Plan, turn: int) -> Deployment:
        return found.attempts[turn % len(found.attempts)]

    def _call(self, job: Job, deployment: Deployment, provider: Provider, started: float) -> Call:
        if job.request.task not in provider.capabilities.tasks:
            raise Unsupported(f"this provider does not do {job.request.task}", param="model")
        chat = None if _passes(job, provider) and not job.canonical else self._translated(job, provider)
        return Call(
            job.request,
            job.id,
            deployment.model,
            job.output_limit,
            self._timeouts,
            started,
            min(job.deadline, started + self._timeouts.total),
            job.headers,
            chat,
            job.provider_key,
        )

    def _translated(self, job: Job, provider: Provider) -> ChatRequest:
        """The canonical request, as far as the provider can carry it; Unsupported when the rest may not be dropped."""
        if job.read_chat is None:
            raise Unsupported("this provider does not speak the dialect of the request")
        chat = job.chat = job.chat or job.read_chat(job.request.body)
        if job.output_limit is not None:
            chat = msgspec.structs.replace(chat, output_limit=job.output_limit)
        parameters = provider.capabilities.parameters
        missing = unsupported(chat, parameters)
        if missing and self._settings.unsupported_parameters == "refuse":
            names = ", ".join(missing[:10])
            raise Unsupported(f"this model has no place for: {names[:300]}; leave it out", param=missing[0])
        job.dropped = missing
        return without_unsupported(chat, parameters)

    def _answered(self, job: Job, deployment: Deployment) -> None:
        if self._streaks:
            self._streaks.pop(deployment.index, None)
        if not job.model.simple:
            attempt = job.attempts[-1]
            self._health.observe(deployment.index, job.request.stream, (attempt.ended - attempt.started) / _NANO)

    async def _fail(self, job: Job, found: Plan, turn: int, error: PolyforgeError) -> Plan:
        """Note a failure, then return the plan to go on with when there is another attempt, and raise when not."""
        self._note(job, self._choose(found, turn), error)
        if job.model.widens and isinstance(error, UpstreamRefused) and error.code == CONTEXT_CODE:
            return self._widened(found, turn, error)
        elsewhere = error.retryable or isinstance(error, Unsupported)
        if elsewhere and turn + 1 < min(self._settings.attempts, len(found.attempts)):
            return found
        again = self._choose(found, turn + 1)
        pause = _BACKOFF_SECONDS * (1 + turn) * (0.5 + random.random())
        if (
            not error.retryable
            or turn + 1 >= self._settings.attempts
            or isinstance(error, RateLimited | TimedOut | UpstreamDenied | NotConfigured)
            or self._cooling_for(again) > 0
            or any(attempt.broke_off and attempt.deployment is again for attempt in job.attempts)
            or Deadline.now() + pause >= job.deadline
        ):
            self._tell_recovery(job, found, error)
            raise error
        await asyncio.sleep(pause)
        return found

    def _widened(self, found: Plan, turn: int, error: PolyforgeError) -> Plan:
        """A plan that goes on with what declares a larger context; raises the error when nothing does."""
        tried = tuple(self._choose(found, earlier) for earlier in range(turn + 1))
        wider = larger(found, tried[-1])
        if not wider or turn + 1 >= self._settings.attempts:
            raise error
        return Plan(tried + wider)

    def _cooling_for(self, deployment: Deployment) -> float:
        return self._health.cooling_until(deployment.index) - self._clock.now()

    def _tell_recovery(self, job: Job, found: Plan, error: PolyforgeError) -> None:
        """A caller who has to wait is told how long: until the first of the deployments may be tried again."""
        if isinstance(error, LimitReached):
            return
        if isinstance(error, RateLimited) and job.provider_key is None:
            error.retry_after = max(0.1, min(self._cooling_for(deployment) for deployment in found.attempts))

    def _note(self, job: Job, deployment: Deployment, error: PolyforgeError) -> None:
        job.attempts[-1].outcome = error.code
        job.attempts[-1].broke_off = isinstance(error, BrokenOff)
        if isinstance(error, Invalid):
            self._streaks.pop(deployment.index, None)
            return
        if _is_no_fault(job, error):
            return
        if not job.model.simple:
            attempt = job.attempts[-1]
            lost = max(_FAILED_SECONDS, (attempt.ended - attempt.started) / _NANO)
            self._health.observe(deployment.index, job.request.stream, lost)
        streak = self._streaks[deployment.index] = self._streaks.get(deployment.index, 0) + 1
        if streak < _STREAK and not isinstance(error, RateLimited | UpstreamDenied):
            return
        self._cool(deployment, error)

    def _cool(self, deployment: Deployment, error: PolyforgeError) -> None:
        wanted = self._settings.cooldown_seconds if error.retry_after is None else error.retry_after
        if isinstance(error, QuotaSpent):
            _log.warning("the quota of an account is used up", provider=deployment.provider, model=deployment.model)
            self._health.cool(deployment.index, max(self._settings.quota_cooldown_seconds, wanted), "quota")
            return
        cause: Cause = "rate" if isinstance(error, RateLimited) else "failure"
        self._health.cool(deployment.index, min(_LONGEST_COOLDOWN, wanted), cause)


def _no_fit(model: str, misfits: Sequence[Misfit | None]) -> PolyforgeError:
    """Why no deployment of a model can answer: what the caller chose by, before what the request needs."""
    able = [_MISFITS[misfit] for misfit in misfits if misfit in _MISFITS]
    if able:
        return Unsupported(f"no deployment of {model!r} {able[0]}", param="model")
    chosen = ", ".join(sorted({misfit for misfit in misfits if misfit is not None}))
    return Invalid(f"no deployment of {model!r} has what {ROUTE_HEADER} asks for ({chosen})", param=ROUTE_HEADER)


def _begin_attempt(job: Job, deployment: Deployment) -> float:
    """When it began, in loop time; TimedOut when there is no time left for it."""
    started = Deadline.now()
    if started >= job.deadline:
        raise TimedOut("the deadline of the request has passed")
    job.attempts.append(Attempt(deployment, perf_counter_ns()))
    return started


def _passes(job: Job, provider: Provider) -> bool:
    """Whether the provider takes the body as it came: it speaks the dialect, or the task has no canonical form."""
    request = job.request
    return request.task not in _CANONICAL or request.dialect in provider.capabilities.dialects


def _is_no_fault(job: Job, error: PolyforgeError) -> bool:
    """Whether a failure says nothing of how the deployment does: its key is not set yet, or the caller's is used up.

    Nor does a limit that was set here, nor what a host that itself answers has not, or cannot.
    """
    return isinstance(error, _NO_FAULTS) or (job.provider_key is not None and isinstance(error, RateLimited))


async def _until_content(events: AsyncGenerator[list[StreamEvent]]) -> list[StreamEvent]:
    """What comes before the first content, and the content; failing over is possible until this returns."""
    held: list[StreamEvent] = []
    async for batch in events:
        held += batch
        if any(event.content or event.end for event in batch):
            break
    return held


def _end_wait(job: Job) -> int:
    """The upstream has answered, or failed to: the time until now was its, not ours."""
    attempt = job.attempts[-1]
    attempt.ended = now = perf_counter_ns()
    job.hops.waited += now - attempt.started
    return now
