"""Python in a sandbox."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports, declared_inputs
from polyforge.flows.porttypes import parse_type


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    return Ports(declared_inputs(params), {"result": Port(parse_type(params.get("result", "json")), "Result")})


NODE = NodeType(
    type="code.python",
    v=1,
    title="Python",
    description="Runs Python in a process of its own, without a network and with limits on memory and time.",
    category="data",
    params=fields.parameters(
        ("code",),
        code=fields.text("Code", "Has the inputs as variables, and sets `result`.", least=1, most=50_000),
        inputs=fields.inputs("What the code has as variables, with its types."),
        result=fields.typed("Type of the result"),
        memory_mb=fields.whole("Memory", "In MiB.", least=32, most=4_096, default=256),
    ),
    ports=_ports,
    capabilities=("code",),
    unavailable="code blocks are off in this installation",
)
