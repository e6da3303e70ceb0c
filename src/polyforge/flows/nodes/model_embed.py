"""Vectors of texts."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="model.embed",
    v=1,
    title="Embedding",
    description="Turns texts into vectors that are close where the texts mean the like.",
    category="models",
    params=fields.parameters(
        ("model",),
        model=fields.reference("model", "Model"),
        dimensions=fields.whole("Dimensions", "Where the model can shorten its vectors.", least=1, most=65_536),
    ),
    ports=fixed({"texts": port("list<text>", "Texts")}, {"embeddings": port("list<embedding>", "Vectors")}),
    capabilities=("models",),
    deterministic=True,
    timeout_s=120,
)
