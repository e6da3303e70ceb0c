"""A value out of others."""

import asyncio

from polyforge.flows import fields
from polyforge.flows.document import Interface, Json
from polyforge.flows.evaluating import cel_value, jmespath_value
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports, declared_inputs
from polyforge.flows.porttypes import literal_fits, parse_type
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.kernel.errors import Invalid


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


async def run(call: NodeCall) -> Outputs:
    """Work the value out."""
    value = await asyncio.to_thread(_worked_out, call.params, dict(call.inputs))
    kind = parse_type(call.params.get("result", "json"))
    if not literal_fits(value, kind):
        raise Invalid(f"the value is no {kind}, as the node says that it is; change the expression, or the type")
    return {"value": value}


def _worked_out(params: Params, inputs: dict[str, Json]) -> Json:
    if "cel" in params:
        return cel_value(params["cel"], inputs)
    return jmespath_value(params["jmespath"], inputs)
