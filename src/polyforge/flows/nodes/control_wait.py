"""Some time passes."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="control.wait",
    v=1,
    title="Wait",
    description="Goes on after some time, also over restarts.",
    category="control",
    params=fields.parameters(("seconds",), seconds=fields.whole("Seconds", "Up to 90 days.", least=1, most=7_776_000)),
    ports=fixed(
        {"value": port("any", "What goes on", required=False)}, {"value": port("any", "The same", follows="value")}
    ),
    deterministic=True,
    timeout_s=None,
)
