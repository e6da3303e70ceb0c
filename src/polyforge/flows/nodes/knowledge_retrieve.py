"""Passages that answer a question."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="knowledge.retrieve",
    v=1,
    title="Retrieve",
    description="Finds the passages of a knowledge base that answer a question.",
    category="knowledge",
    params=fields.parameters(
        ("knowledge",),
        knowledge=fields.reference("knowledge", "Knowledge base"),
        top=fields.whole("How many", "Passages at most.", least=1, most=100, default=5),
        minimum_score=fields.number("Least score", "Passages below it are left out.", least=0, most=1),
    ),
    ports=fixed({"query": port("text", "Question")}, {"chunks": port("chunks", "Passages")}),
    capabilities=("knowledge",),
    unavailable="knowledge bases are not part of this version yet",
)
