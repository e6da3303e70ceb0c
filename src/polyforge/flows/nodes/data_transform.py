"""A value out of others."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports, declared_inputs
from polyforge.flows.porttypes import parse_type


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    return Ports(declared_inputs(params), {"value": Port(parse_type(params.get("result", "json")), "Value")})


NODE = NodeType(
    type="data.transform",
    v=1,
    title="Transform",
    description="Works out a value by an expression in CEL, or picks it out with JMESPath.",
    category="data",
    params=fields.one_of(
        fields.parameters(
            ("inputs",),
            inputs=fields.inputs(least=1),
            cel=fields.cel("CEL", "Has the inputs by their names."),
            jmespath=fields.jmespath("JMESPath", "Sees an object of the inputs."),
            result=fields.typed("Type of the value"),
        ),
        "cel",
        "jmespath",
    ),
    ports=_ports,
    deterministic=True,
)
