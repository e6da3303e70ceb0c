"""The label of a text."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="model.classify",
    v=1,
    title="Classify",
    description="Says which label fits a text, and how well each does.",
    category="models",
    params=fields.parameters(
        ("model",),
        model=fields.reference("model", "Model"),
        labels=fields.many(
            fields.text("Label", least=1, most=200), "Labels", "For models that are told what to choose from.", most=200
        ),
    ),
    ports=fixed(
        {"text": port("text", "Text")},
        {
            "label": port("text", "Best label"),
            "confidence": port("number", "How well it fits, from 0 to 1"),
            "scores": port("list<record{label: text, score: number}>", "Every label"),
        },
    ),
    capabilities=("models",),
    timeout_s=120,
)
