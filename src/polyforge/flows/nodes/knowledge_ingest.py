"""A document into a knowledge base."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="knowledge.ingest",
    v=1,
    title="Ingest",
    description="Puts a document into a knowledge base; one that is there already is replaced.",
    category="knowledge",
    params=fields.parameters(("knowledge",), knowledge=fields.reference("knowledge", "Knowledge base")),
    ports=fixed(
        {"document": port("document", "Document")},
        {"id": port("text", "Id of the document"), "chunks": port("number", "Passages made")},
    ),
    capabilities=("knowledge",),
    effect="repeatable",
    timeout_s=900,
    unavailable="knowledge bases are not part of this version yet",
)
