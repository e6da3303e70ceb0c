"""Facts out of a text."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports, port, with_holes
from polyforge.flows.schema_types import type_of_schema
from polyforge.flows.templates import names_in


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    value = Port(type_of_schema(params["schema"]), "What was found")
    ports = Ports({"text": port("text", "Text to read")}, {"value": value})
    return with_holes(ports, names_in(params.get("instructions", "")))


NODE = NodeType(
    type="model.extract",
    v=1,
    title="Structured extraction",
    description="Has a model read a text and answer in a JSON schema; an answer that does not fit is asked for again.",
    category="models",
    params=fields.parameters(
        ("model", "schema"),
        model=fields.reference("model", "Model"),
        schema=fields.schema("Schema", "What to find, as a JSON schema of an object."),
        instructions=fields.template("Instructions", "What to look out for."),
        attempts=fields.whole("Attempts", "How often the model is asked at most.", least=1, most=5, default=2),
    ),
    ports=_ports,
    capabilities=("models",),
    timeout_s=300,
)
