"""How a model is run: how many runs at once, how much in one run, and who waits for how long.

A plan is data: the default of a model nobody has measured, what `tuning.measure` found, or what a configuration says.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from polyforge.kernel.tensors import ITEM_BYTES, TensorSpec
from polyforge.ports.model_backend import Signature

PADDED_STEPS = 2048
"""Places of a free dimension (tokens, samples) that are worth one run of a model nobody has measured, padding too."""
TEXT_BYTES_PER_TOKEN = 4
RUNS_ELSEWHERE = 64
"""Runs under way at once of a model that computes on other machines and sets no bound; none costs a core here."""


class QueuePolicy(msgspec.Struct, frozen=True):
    """How many requests may wait, and for how long (microseconds); 0 is without a limit of its own.

    A caller's own `timeout` may only be shorter than `timeout_us`, and is not looked at when `timeout_us` is set and
    may not be overridden. What has waited too long is refused, or with DELAY runs behind all that has not.
    """

    max_queue: int = 0
    timeout_us: int = 0
    allow_timeout_override: bool = True
    timeout_action: Literal["REJECT", "DELAY"] = "REJECT"


class Plan(msgspec.Struct, frozen=True):
    """How one model is run.

    `instances` runs of it are under way at once at most; 0: as many as the host has threads. One run is given at most
    `batch_rows` rows of waiting requests (0 and 1: every request alone) and `batch_bytes` padded bytes, its longest
    row times its rows; 0: no bound. It is given one of `preferred_rows` if that many wait. With `levels` of priority, 1
    is the most urgent and `default_level` is that of callers who do not say; 0: priorities mean nothing. No caller gets
    a more urgent level than `top_level`; 0: any. All its requests are less urgent than those of other models by `rank`
    levels, or more so where that is negative. `keep_order` gives answers in the order of the requests. A run that has
    the host to itself is computed by `threads_alone` threads, if the engine can. `cached` answers are given again to
    equal requests, if the host has a cache.
    """

    instances: int = 0
    batch_rows: int = 1
    batch_bytes: int = 0
    preferred_rows: tuple[int, ...] = ()
    max_queue: int = 0
    levels: int = 0
    default_level: int = 0
    top_level: int = 0
    rank: int = 0
    policy: QueuePolicy = QueuePolicy()
    level_policies: Mapping[int, QueuePolicy] = {}
    keep_order: bool = False
    cached: bool = False
    threads_alone: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1

    def policy_of(self, level: int) -> QueuePolicy:
        """The policy of a priority level."""
        return self.level_policies.get(level, self.policy)

    def measured(self, found: "Plan") -> "Plan":
        """This default plan with the numbers that measuring has found; never more rows than the engine says."""
        return msgspec.structs.replace(
            self,
            instances=found.instances,
            batch_rows=min(found.batch_rows, self.batch_rows),
            batch_bytes=found.batch_bytes,
            threads_alone=found.threads_alone,
        )


def default_plan(signature: Signature, cores: int) -> Plan:
    """The plan of a model that nobody has measured: one run per core, and as many rows in one as its engine says."""
    return Plan(
        instances=_instances(signature, cores),
        batch_rows=signature.batch_rows,
        batch_bytes=PADDED_STEPS * sum(_bytes_per_step(spec) for spec in signature.inputs),
    )


def _instances(signature: Signature, cores: int) -> int:
    if signature.elsewhere:
        return signature.instances or RUNS_ELSEWHERE
    limits = [limit for limit in (signature.instances, cores) if limit]
    return min(limits, default=0)


def _bytes_per_step(spec: TensorSpec) -> int:
    """Bytes by which an input grows with its length; 0 for one whose rows are all of one length."""
    if spec.datatype == "BYTES":
        return TEXT_BYTES_PER_TOKEN
    if -1 not in spec.shape[1:]:
        return 0
    return ITEM_BYTES[spec.datatype] * math.prod(extent for extent in spec.shape[1:] if extent > 0)
