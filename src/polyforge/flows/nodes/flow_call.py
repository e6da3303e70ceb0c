"""Another flow as a node."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports, declared_inputs
from polyforge.flows.porttypes import parse_type


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    outputs = {name: Port(parse_type(written)) for name, written in params.get("outputs", {}).items()}
    return Ports(declared_inputs(params), outputs)


NODE = NodeType(
    type="flow.call",
    v=1,
    title="Sub-flow",
    description="Runs another flow, whose nodes have their own times; which of its versions is fixed when the run "
    "begins.",
    category="control",
    params=fields.parameters(
        ("flow",),
        flow=fields.reference("flow", "Flow", "Its id with an alias or a version."),
        inputs=fields.inputs("The inputs of that flow, with their types."),
        outputs=fields.by_name(fields.typed(), "Outputs", "The outputs of that flow, with their types."),
    ),
    ports=_ports,
    effect="once",
    timeout_s=None,
)
