"""The rows of the scorecard: what is done to a gateway, and what is right."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.scorecard.gateways import TIMEOUT, Gateway, Model
from benchmarks.scorecard.hearing import Caller, Heard
from benchmarks.scorecard.judging import (
    Judgement,
    NotOffered,
    Unclear,
    judge_broken_stream,
    judge_disconnect,
    judge_failing_guardrail,
    judge_hang,
    judge_metering,
    judge_race,
    judge_revocation,
    judge_sharing,
    judge_split_address,
    judge_stall,
    judge_throttling,
)
from benchmarks.targets import CHAT
from benchmarks.upstream import DONE, content_chunk, finish_chunk, frame, usage_chunk
from tests.support.behaviours import HANG, NEVER, Answer, Behaviour, Exchange, Fail, Play, Tokens
from tests.support.clients import call_async
from tests.support.upstream import Received, Upstream

GRACE = 4.0
"""Seconds that a slow machine may add to a timeout before it counts as missed."""
PATIENCE = TIMEOUT + GRACE + 3
DISCONNECT_LIMIT = 2.0
WATCHED = 3.0
"""Seconds that an upstream call is watched after its caller left; less than TIMEOUT, which would end it anyway."""
BEFORE_LEAVING = 0.3
WORDS = "one two three four"
CALLERS, ROOM = 200, 10
RACE_SECONDS = 60.0
USED = Tokens(prompt=1234, completion=5)
REVOCATION_LIMIT = 2.0
REVOCATION_WATCHED = 8.0
CALLS_AFTER = 5
CACHE_TRIES = 5
ADDRESS = "jane.doe@example.org"
PIECES = ("Please write to ", "jane.d", "oe@exam", "ple.org", " about it", ", and soon.")
HARMLESS = ("Please write to ", "somebody", " about it", ", and soon.")


@dataclass(frozen=True)
class Stage:
    """A gateway that runs, and what is around it."""

    gateway: Gateway
    upstream: Upstream
    guard: Upstream
    """The guardrail service, which finds nothing to object to."""

    def script(self, model: str, *behaviours: Behaviour) -> Caller:
        """Set what the upstream does for a model; the caller who will ask for it."""
        self.upstream.script(model, *behaviours)
        return self.gateway.caller()

    def calls(self, model: str) -> int:
        """How many calls for a model reached the upstream."""
        return len(self.upstream.requests(model))


@dataclass(frozen=True)
class Row:
    """One fault or race."""

    name: str
    title: str
    right: str
    trial: Callable[[Stage], Judgement]
    models: tuple[Model, ...]


def broken_stream(behaviour: Behaviour, model: str, stage: Stage) -> Judgement:
    """Read a stream to its end, whatever that is."""
    return judge_broken_stream(stage.script(model, behaviour).ask(model, PATIENCE, stream=True))


def throttled(model: str, stage: Stage) -> Judgement:
    """Three calls, one after the other, to an upstream that wants to be left alone for half a minute."""
    busy = Fail(429, "slow down", kind="requests", code="rate_limit_exceeded", headers={"retry-after": "30"})
    caller = stage.script(model, busy)
    answers = [caller.ask(model, PATIENCE) for _ in range(3)]
    return judge_throttling(answers, stage.calls(model))


def hang(model: str, stage: Stage) -> Judgement:
    """The upstream takes the request and says nothing; a stream, because whole answers may take long to begin."""
    return judge_hang(stage.script(model, HANG).ask(model, PATIENCE, stream=True), TIMEOUT + GRACE)


def stall(model: str, stage: Stage) -> Judgement:
    """The upstream falls silent after two words."""
    caller = stage.script(model, Answer(WORDS, after=2, ending="hang"))
    return judge_stall(caller.ask(model, PATIENCE, stream=True), TIMEOUT + GRACE)


def disconnect(behaviour: Behaviour, stream: bool, events: int, model: str, stage: Stage) -> Judgement:
    """Hang up on a gateway whose upstream call goes on; where there are events in a stream, after some of them."""
    caller = stage.script(model, behaviour)
    with caller.open(model, PATIENCE, stream=stream) as call:
        (request,) = stage.upstream.wait_for(model)
        if events:
            call.read_until(lambda response: len(response.events) >= events)
        else:
            time.sleep(BEFORE_LEAVING)
        if request.aborted:
            raise Unclear("the gateway gave up before its caller did")
        left = time.monotonic()
        call.hang_up()
        return judge_disconnect(_noticed(request, left), DISCONNECT_LIMIT, WATCHED)


def _noticed(request: Received, left: float) -> float | None:
    end = left + WATCHED
    while request.aborted_at is None and time.monotonic() < end:
        time.sleep(0.02)
    return None if request.aborted_at is None else max(0.0, request.aborted_at - left)


def unasked_usage(model: str, stage: Stage) -> Judgement:
    """A stream whose caller says nothing of usage."""
    caller = stage.script(model, Answer(tokens=USED))
    heard = caller.ask(model, PATIENCE, stream=True)
    _require_whole(heard, Answer().text)
    return judge_metering(heard, stage.gateway.metered(model), (USED.prompt, USED.completion))


def budget_race(model: str, stage: Stage) -> Judgement:
    """Everyone at once on a key with room for a few; each call costs the same."""
    caller = stage.gateway.budgeted(ROOM)
    stage.upstream.script(model, Answer(before_head=0.2))
    statuses = asyncio.run(_race(caller, model))
    return judge_race(statuses, stage.calls(model), ROOM)


async def _race(caller: Caller, model: str) -> list[int]:
    calls = [call_async(caller.url, CHAT, seconds=RACE_SECONDS, **caller.request(model)) for _ in range(CALLERS)]
    return [response.status for response in await asyncio.gather(*calls)]


def cross_tenant_cache(model: str, stage: Stage) -> Judgement:
    """The same question from two tenants, where the first one's answer is known to be kept."""
    first, second = stage.gateway.tenants()
    question = f"What is {secrets.token_hex(8)}?"
    stage.upstream.script(model, Answer())
    if not _is_kept(first, model, question, stage):
        raise NotOffered("the same question from the same caller goes upstream each time: no cache answers it")
    before = stage.calls(model)
    heard = second.ask(model, PATIENCE, content=question)
    _require_whole(heard, Answer().text)
    return judge_sharing(stage.calls(model) == before)


def _is_kept(caller: Caller, model: str, question: str, stage: Stage) -> bool:
    for _ in range(CACHE_TRIES):
        before = stage.calls(model)
        _require_whole(caller.ask(model, PATIENCE, content=question), Answer().text)
        if stage.calls(model) == before:
            return True
        time.sleep(0.3)
    return False


def revocation(model: str, stage: Stage) -> Judgement:
    """Calls go on while the key is taken away."""
    caller, revoke = stage.gateway.revocable()
    stage.upstream.script(model, Answer())
    _require_whole(caller.ask(model, PATIENCE), Answer().text)
    revoke()
    revoked = time.monotonic()
    seconds = _first_refusal(caller, model, revoked)
    after = [caller.ask(model, PATIENCE) for _ in range(CALLS_AFTER)] if seconds is not None else []
    return judge_revocation(seconds, sum(not heard.refused for heard in after), REVOCATION_LIMIT)


def _first_refusal(caller: Caller, model: str, revoked: float) -> float | None:
    while time.monotonic() - revoked < REVOCATION_WATCHED:
        if caller.ask(model, PATIENCE).refused:
            return time.monotonic() - revoked
        time.sleep(0.05)
    return None


def failing_guardrail(guarded: str, unguarded: str, stage: Stage) -> Judgement:
    """A guardrail that asks a service: once with the service there, once with nobody listening."""
    caller = stage.script(guarded, Answer())
    asked = len(stage.guard.requests())
    _require_whole(caller.ask(guarded, PATIENCE), Answer().text)
    if len(stage.guard.requests()) == asked:
        raise Unclear("the guardrail did not ask its service even while it was there")
    return judge_failing_guardrail(caller.ask(unguarded, PATIENCE), stage.calls(unguarded))


def split_address(model: str, stage: Stage) -> Judgement:
    """An e-mail address over several chunks of a stream whose guardrail looks for personal data."""
    caller = stage.script(model, Play(partial(_pieces, HARMLESS)), Play(partial(_pieces, PIECES)))
    _require_whole(caller.ask(model, PATIENCE, stream=True), "".join(HARMLESS))
    return judge_split_address(caller.ask(model, PATIENCE, stream=True), ADDRESS)


async def _pieces(pieces: Sequence[str], exchange: Exchange) -> None:
    await exchange.head(200, {"content-type": "text/event-stream"}, None)
    for piece in pieces:
        await exchange.body(frame(content_chunk(piece)))
        await asyncio.sleep(0.05)
    await exchange.body(frame(finish_chunk()))
    options: Any = exchange.json.get("stream_options") or {}
    if options.get("include_usage"):
        await exchange.body(frame(usage_chunk(len(pieces))))
    await exchange.body(DONE)
    await exchange.end()


def _require_whole(heard: Heard, text: str) -> None:
    if heard.status != 200 or heard.text != text:
        raise Unclear(f"without any fault the answer is {heard.status} “{heard.text}” {heard.error or ''}".strip())


def _row(name: str, title: str, right: str, trial: Callable[..., Judgement], *arguments: Any, **model: Any) -> Row:
    return Row(name, title, right, partial(trial, *arguments, name), (Model(name, **model),))


_LOOKS_BROKEN = "The caller can tell that the answer is not whole: an error event or a broken connection, never an end."
_LETS_GO = "The upstream call is cancelled within 2 s."

ROWS = (
    _row(
        "stream-truncated",
        "stream truncated",
        _LOOKS_BROKEN,
        broken_stream,
        Answer(WORDS, after=2, ending="close", before_ending=0.2),
    ),
    _row(
        "stream-unfinished",
        "stream without finish",
        "A body that ends well but without finish_reason and [DONE] is an error too, not an answer.",
        broken_stream,
        Answer(WORDS, after=2, ending="cut", before_ending=0.2),
    ),
    _row(
        "malformed-chunk",
        "malformed chunk",
        "What is not JSON never reaches the caller, who is told that the answer is not whole.",
        broken_stream,
        Answer(WORDS, after=2, ending="bad_json", before_ending=0.2),
    ),
    _row(
        "retry-after",
        "429 with Retry-After",
        "With nobody to fail over to, Retry-After reaches the caller, and there are no more calls than it made.",
        throttled,
    ),
    _row("hang-before-headers", "hang before headers", f"408 or 504 once the timeout of {TIMEOUT} s is over.", hang),
    _row(
        "hang-mid-stream",
        "hang mid-stream",
        f"The stream ends with an error once the timeout of {TIMEOUT} s is over.",
        stall,
    ),
    _row("disconnect-waiting", "disconnect before the answer", _LETS_GO, disconnect, HANG, False, 0),
    _row(
        "disconnect-first-chunk",
        "disconnect before the first chunk",
        _LETS_GO,
        disconnect,
        Answer(role_first=False, before_first=NEVER),
        True,
        0,
    ),
    _row("disconnect-mid-stream", "disconnect mid-stream", _LETS_GO, disconnect, Answer(pieces=300, gap=0.1), True, 4),
    _row(
        "usage-unasked",
        "usage not asked for",
        "A stream is metered to the token though its caller did not ask for usage, and the caller gets no usage chunk.",
        unasked_usage,
    ),
    _row(
        "budget-race",
        "budget race",
        f"Of {CALLERS} calls at once on a key with room for {ROOM}, exactly {ROOM} are served.",
        budget_race,
    ),
    _row(
        "key-revoked",
        "key revoked mid-traffic",
        f"Within {REVOCATION_LIMIT:g} s no call gets through, nor any later.",
        revocation,
    ),
    _row(
        "cross-tenant-cache",
        "cross-tenant cache",
        "A cached answer is for the tenant that paid for it, and for nobody else.",
        cross_tenant_cache,
        cached=True,
    ),
    Row(
        "guardrail-error",
        "guardrail that fails",
        "What a guardrail cannot check is blocked before it reaches the provider.",
        partial(failing_guardrail, "guarded", "guarded-in-vain"),
        (Model("guarded", guard="service"), Model("guarded-in-vain", guard="dead-service")),
    ),
    _row(
        "pii-split",
        "personal data over chunks",
        "An e-mail address that lies over several chunks of a stream never leaves, whole or in parts to put together.",
        split_address,
        guard="personal-data",
    ),
)
MODELS = tuple(model for row in ROWS for model in row.models)
