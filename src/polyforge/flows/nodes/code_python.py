"""Python in a sandbox."""

from typing import Final

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports, declared_inputs
from polyforge.flows.porttypes import literal_fits, parse_type
from polyforge.flows.running.contract import NodeCall, Outputs, SandboxLimits
from polyforge.kernel.errors import Invalid

_MEMORY: Final = 256


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
        memory_mb=fields.whole("Memory", "In MiB.", least=32, most=4_096, default=_MEMORY),
    ),
    ports=_ports,
    capabilities=("code",),
    unavailable="code is off in this installation; the operator can set `flows.code: on`",
)


_SECONDS: Final = 3_600.0
"""The operator's limit is shorter, and so is that of the node."""
_RESULT_BYTES: Final = 8 << 20
_MIB: Final = 1 << 20


async def run(call: NodeCall) -> Outputs:
    """Have the code run in a process of its own."""
    memory = call.params.get("memory_mb", _MEMORY) * _MIB
    limits = SandboxLimits(memory, _SECONDS, _RESULT_BYTES)
    result = await call.facilities.sandbox.run(call.params["code"], call.inputs, limits)
    kind = parse_type(call.params.get("result", "json"))
    if not literal_fits(result, kind):
        raise Invalid(f"`result` is no {kind}, as the node says that it is; change the code, or the type")
    return {"result": result}
