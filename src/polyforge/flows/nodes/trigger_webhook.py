"""The flow runs when it is called."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="trigger.webhook",
    v=1,
    title="Webhook",
    description="Starts the flow when its address is called with the right signature. In runs that began otherwise it "
    "is skipped, with what needs it.",
    category="triggers",
    params=fields.parameters(
        ("signature",), signature=fields.secret("Signature", "The secret that callers sign with (HMAC-SHA256).")
    ),
    ports=fixed({}, {"body": port("json", "Body"), "headers": port("json", "Headers")}),
    capabilities=("webhook",),
    top_level=True,
)
