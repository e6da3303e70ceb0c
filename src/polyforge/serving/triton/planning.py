"""What a Triton configuration says of how its model is run, as a plan of the host.

Defaults are Triton's, but for one: when a queue's policy has no time of its own, a caller's `timeout` holds.
"""

from typing import Literal

import msgspec

from polyforge.serving.plan import Plan, QueuePolicy
from polyforge.serving.triton import config as triton


def planned(config: triton.ModelConfig, plan: Plan) -> Plan:
    """The plan of a model with what its configuration says; what it leaves open stays."""
    batching = config.dynamic_batching or triton.DynamicBatching()
    levels = batching.priority_levels
    return msgspec.structs.replace(
        plan,
        # What is said of GPUs says nothing of the cores that compute here.
        instances=plan.instances if _on_gpus(config) else config.instances or plan.instances,
        preferred_rows=tuple(sorted(size for size in batching.preferred_batch_size if size <= config.max_batch_size)),
        levels=levels,
        default_level=batching.default_priority_level,
        policy=_policy(batching.default_queue_policy),
        level_policies={level: _policy(policy) for level, policy in batching.priority_queue_policy.items()},
        keep_order=batching.preserve_ordering,
        cached=config.response_cache.enable,
    )


def _on_gpus(config: triton.ModelConfig) -> bool:
    return any(group.kind == "KIND_GPU" for group in config.instance_group)


def _policy(policy: triton.QueuePolicy) -> QueuePolicy:
    action: Literal["REJECT", "DELAY"] = "DELAY" if policy.timeout_action == "DELAY" else "REJECT"
    return QueuePolicy(
        max_queue=policy.max_queue_size,
        timeout_us=policy.default_timeout_microseconds,
        allow_timeout_override=policy.allow_timeout_override,
        timeout_action=action,
    )
