"""A guardrail over a text."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="guardrail.check",
    v=1,
    title="Guardrail",
    description="Has a guardrail of the installation judge a text; what it masks goes on masked.",
    category="control",
    params=fields.parameters(("guardrail",), guardrail=fields.reference("guardrail", "Guardrail")),
    ports=fixed(
        {"text": port("text", "Text")},
        {
            "passed": port("text", "The text, masked where the guardrail masks"),
            "blocked": port("record{kinds: list<text>}", "What was found"),
        },
    ),
    exclusive=True,
)
