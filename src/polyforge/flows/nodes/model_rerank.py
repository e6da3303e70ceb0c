"""Texts by how well they answer a question."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="model.rerank",
    v=1,
    title="Rerank",
    description="Orders texts by how well they answer a question, the best first.",
    category="models",
    params=fields.parameters(
        ("model",),
        model=fields.reference("model", "Model"),
        top=fields.whole("How many", "The best ones that go on.", least=1, most=1_000, default=10),
    ),
    ports=fixed(
        {"query": port("text", "Question"), "documents": port("list<text>", "Texts")},
        {
            "documents": port("list<text>", "The best texts"),
            "ranking": port("list<record{index: number, score: number}>", "Their places and scores"),
        },
    ),
    capabilities=("models",),
    deterministic=True,
    timeout_s=120,
)
