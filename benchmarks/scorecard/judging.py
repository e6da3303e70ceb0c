"""Who did the right thing: pure functions from what was seen to a verdict and a few words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.scorecard.hearing import Heard, shown

Verdict = Literal["right", "wrong", "not offered", "unclear"]
TIMEOUTS = (408, 504)
BUSY = (429, 503)


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it rests on."""

    verdict: Verdict
    observed: str


class NotOffered(Exception):
    """The gateway has no such feature in its open edition, or needs other servers for it; the message says which."""


class Unclear(Exception):
    """The trial did not come about, so it says nothing; the message says why."""


def right(observed: str) -> Judgement:
    """As it should be."""
    return Judgement("right", observed)


def wrong(observed: str) -> Judgement:
    """Not as it should be."""
    return Judgement("wrong", observed)


def told(heard: Heard) -> str | None:
    """How a caller learns that an answer is not whole; None when it looks as if it were, or does not end."""
    if heard.refused:
        return f"{heard.status}: {heard.error}"
    if heard.error is not None:
        return f"error event: {heard.error}"
    if heard.silent or heard.whole:
        return None
    return "the connection breaks off"


def judge_broken_stream(heard: Heard) -> Judgement:
    """A stream that broke upstream must not look whole."""
    if heard.unreadable:
        return wrong("an event that is not JSON reaches the caller")
    how = told(heard)
    if how is not None:
        return wrong(f"{how}, then [DONE]") if heard.done else right(how)
    if heard.silent:
        return wrong(f"still open after {heard.seconds:.0f} s")
    return wrong("ends with [DONE], as if it were whole" if heard.done else "just ends, without an error")


def judge_stall(heard: Heard, limit: float) -> Judgement:
    """The same, and in time; `limit` in seconds."""
    judged = judge_broken_stream(heard)
    if judged.verdict == "right" and heard.seconds > limit:
        return wrong(f"{judged.observed}, but only after {heard.seconds:.0f} s")
    return judged


def judge_hang(heard: Heard, limit: float) -> Judgement:
    """An upstream that says nothing comes to a timeout; `limit` in seconds."""
    if heard.silent or not heard.status:
        return wrong(f"no answer within {heard.seconds:.0f} s")
    seen = f"{heard.status} after {heard.seconds:.1f} s"
    return right(seen) if heard.status in TIMEOUTS and heard.seconds <= limit else wrong(seen)


def judge_throttling(answers: Sequence[Heard], upstream_calls: int) -> Judgement:
    """Upstream's Retry-After must reach the caller, and the upstream must not be hammered meanwhile."""
    first = answers[0]
    if upstream_calls > len(answers):
        return wrong(f"{len(answers)} calls became {upstream_calls} upstream")
    calls = f"{len(answers)} calls, {upstream_calls} of them upstream"
    if first.status not in BUSY:
        return wrong(f"answers {first.status or 'nothing'}; {calls}")
    if wait := first.headers.get("retry-after"):
        return right(f"{first.status}, Retry-After {wait}; {calls}")
    others = [name for name in first.headers if name.endswith("retry-after")]
    return wrong(f"{first.status} without Retry-After{', only ' if others else ''}{', '.join(others)}; {calls}")


def judge_disconnect(seconds: float | None, limit: float, watched: float) -> Judgement:
    """`seconds` from the caller's hanging up to the gateway's; None when that was not seen within `watched`."""
    if seconds is None:
        return wrong(f"the upstream call is still open {watched:g} s later")
    seen = f"upstream call cancelled after {seconds:.1f} s"
    return right(seen) if seconds <= limit else wrong(seen)


def judge_metering(heard: Heard, metered: tuple[int, int] | None, used: tuple[int, int]) -> Judgement:
    """Tokens of prompt and completion, as metered and as the upstream counted them."""
    if metered is None:
        return wrong("nothing metered")
    if metered != used:
        return wrong(f"metered {metered[0]}+{metered[1]} tokens of {used[0]}+{used[1]}")
    if heard.without_choices:
        return wrong("metered, but the caller gets a chunk without choices that it did not ask for")
    return right(f"metered {metered[0]}+{metered[1]} tokens, no such chunk for the caller")


def judge_race(statuses: Sequence[int], upstream_calls: int, room: int) -> Judgement:
    """As many are served as there is room for, and all others are refused before anything is spent."""
    served = statuses.count(200)
    refused = sum(400 <= status < 500 for status in statuses)
    seen = f"{served} served, {refused} refused, {upstream_calls} upstream calls"
    good = served == upstream_calls == room and served + refused == len(statuses)
    return right(seen) if good else wrong(seen)


def judge_sharing(shared: bool) -> Judgement:
    """Whether another tenant got the answer that was kept for the first."""
    if shared:
        return wrong("the second tenant got the first one's answer")
    return right("a hit within the tenant, none across")


def judge_revocation(seconds: float | None, accepted_after: int, limit: float) -> Judgement:
    """`seconds` until the first refusal, None when there was none; calls that got through after it."""
    if seconds is None:
        return wrong("the key still works")
    if accepted_after:
        return wrong(f"refused after {seconds:.1f} s, then let in again")
    seen = f"refused {seconds:.1f} s later"
    return right(seen) if seconds <= limit else wrong(seen)


def judge_failing_guardrail(heard: Heard, upstream_calls: int) -> Judgement:
    """What cannot be checked must not be passed on."""
    if not heard.refused:
        return wrong(f"passed unchecked ({heard.status})")
    if upstream_calls:
        return wrong(f"{heard.status}, but the provider had the prompt already")
    return right(f"blocked: {heard.status}")


def judge_split_address(heard: Heard, address: str) -> Judgement:
    """A personal datum that lies over several chunks must not come out at the other end."""
    local, _, domain = address.partition("@")
    if address in heard.text:
        return wrong(f"the address arrived: “{shown(heard.text)}”")
    if local in heard.text or domain in heard.text:
        return wrong(f"half of the address arrived: “{shown(heard.text)}”")
    if how := told(heard):
        return right(f"blocked: {how}")
    return right(f"masked: “{shown(heard.text)}”")
