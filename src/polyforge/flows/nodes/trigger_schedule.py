"""The flow runs by the clock."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="trigger.schedule",
    v=1,
    title="Schedule",
    description="Starts the flow by the clock. In runs that began otherwise it is skipped, with what needs it.",
    category="triggers",
    params=fields.parameters(
        ("cron", "timezone"),
        cron=fields.text(
            "When", "Minute, hour, day, month, weekday, as cron has them.", most=100, marks={"x-cron": True}
        ),
        timezone=fields.text("Time zone", "As in `Asia/Kolkata`.", most=64, pattern="^[A-Za-z0-9_+/-]{1,64}$"),
    ),
    ports=fixed({}, {"at": port("text", "When it was due, as in RFC 3339")}),
    capabilities=("schedule",),
    top_level=True,
)
