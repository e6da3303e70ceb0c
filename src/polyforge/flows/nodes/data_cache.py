"""Values kept from run to run."""

from typing import Final

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port
from polyforge.flows.running.contract import NodeCall, Outputs

_SECONDS: Final = 86_400
_RECALL = Ports(
    {"key": port("text", "Key")},
    {"found": port("json", "What was kept"), "missing": port("text", "The key, where nothing is kept")},
)
_KEEP = Ports({"key": port("text", "Key"), "value": port("json", "What to keep")}, {"value": port("json", "The same")})


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    return _KEEP if params["do"] == "keep" else _RECALL


NODE = NodeType(
    type="data.cache",
    v=1,
    title="Cache",
    description="Keeps a value under a key for later runs of the same flow, or recalls it.",
    category="data",
    params=fields.parameters(
        ("do",),
        do=fields.choice("What to do", "recall", "keep"),
        seconds=fields.whole("Kept for", "In seconds.", least=1, most=31_536_000, default=_SECONDS),
    ),
    ports=_ports,
    effect="repeatable",
    exclusive=True,
)


async def run(call: NodeCall) -> Outputs:
    """Keep a value, or see whether one is kept."""
    memory, key = call.facilities.memory, call.inputs["key"]
    if call.params["do"] == "keep":
        seconds = call.params.get("seconds", _SECONDS)
        await memory.keep(call.caller, call.flow_id, key, call.inputs["value"], seconds=seconds)
        return {"value": call.inputs["value"]}
    found = await memory.recall(call.caller, call.flow_id, key)
    return {"missing": key} if found is None else {"found": found[0]}
