"""Vectors of texts."""

from polyforge.flows import fields
from polyforge.flows.asking import require_task, vectors
from polyforge.flows.nodetypes import NodeType, fixed, port
from polyforge.flows.running.contract import NodeCall, Outputs

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


async def run(call: NodeCall) -> Outputs:
    """Ask for a vector of each text; no texts have none."""
    require_task(call, "embedding")
    return {"embeddings": await vectors(call, call.inputs["texts"], call.params.get("dimensions"))}
