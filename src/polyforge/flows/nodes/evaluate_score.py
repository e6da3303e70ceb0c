"""How good an answer is."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="evaluate.score",
    v=1,
    title="Evaluate",
    description="Scores an answer by a measure, against an expected one where the measure needs it.",
    category="models",
    params=fields.parameters(("evaluation",), evaluation=fields.reference("evaluation", "Evaluation")),
    ports=fixed(
        {"answer": port("text", "Answer"), "expected": port("text", "Expected answer", required=False)},
        {"score": port("number", "Score"), "details": port("json", "How it came about")},
    ),
    unavailable="evaluations are not part of this version yet",
)
