"""Under what a node's result is kept for later runs: everything that counts, and nothing else."""

import hashlib
from collections.abc import Mapping

from polyforge.flows.canonical import canonical_json
from polyforge.flows.document import Json
from polyforge.flows.nodetypes import NodeTypes
from polyforge.flows.plan import Step
from polyforge.tenancy.callers import Caller


def result_key(types: NodeTypes, step: Step, inputs: Mapping[str, Json], caller: Caller) -> str | None:
    """The key of a node's result; None for one that is done anew each time.

    Only what has no effects outside, and gives the same for the same: types that say so, and models at temperature 0.
    """
    kind = types.get(step.type, step.v)
    if step.cache != "auto" or kind is None or kind.effect != "none":
        return None
    if not kind.deterministic and step.params.get("temperature") != 0:
        return None
    whole = {
        "project": [caller.organization_id, caller.project_id],
        "models": None if caller.models is None else sorted(caller.models),
        "type": [step.type, step.v],
        "params": dict(step.params),
        "inputs": dict(inputs),
    }
    return hashlib.sha256(canonical_json(whole)).hexdigest()
