"""Once for each item."""

from polyforge.flows import bounds, fields
from polyforge.flows.nodetypes import NodeType, fixed

NODE = NodeType(
    type="loop.foreach",
    v=1,
    title="For each",
    description="A loop around nodes, once for each item of a list, several at a time; results keep the list's order.",
    category="loops",
    params=fields.parameters(
        ("max_iterations",),
        max_iterations=fields.whole(
            "Most items", "A longer list fails.", least=1, most=bounds.MAX_ITERATIONS,
            missing="loop_without_bound",
        ),
        parallel=fields.whole("At a time", least=1, most=bounds.MAX_PARALLEL, default=1),
        on_error=fields.choice("Where an item fails", "fail", "leave_out", default="fail"),
    ),
    ports=fixed({}, {}),
    group="foreach",
)  # fmt: skip
