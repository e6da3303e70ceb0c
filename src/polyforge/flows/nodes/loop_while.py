"""As long as a condition holds."""

from polyforge.flows import bounds, fields
from polyforge.flows.nodetypes import NodeType, fixed

NODE = NodeType(
    type="loop.while",
    v=1,
    title="While",
    description="A loop around nodes with variables; each round begins where the last one ended.",
    category="loops",
    params=fields.parameters(
        ("max_iterations", "when"),
        max_iterations=fields.whole(
            "Most rounds", "A loop that would go on fails.", least=1, most=bounds.MAX_ITERATIONS,
            missing="loop_without_bound",
        ),
        when=fields.cel("Condition", "CEL over the variables and `index`, before each round."),
    ),
    ports=fixed({}, {}),
    group="while",
)  # fmt: skip
