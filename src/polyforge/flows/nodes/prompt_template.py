"""Text made of a template and inputs."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.templates import fill, names_in


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    return with_holes(Ports({}, {"text": port("text", "Text")}), names_in(params["template"]))


NODE = NodeType(
    type="prompt.template",
    v=1,
    title="Prompt template",
    description="Puts inputs into a text. Each `{{name}}` is an input.",
    category="text",
    params=fields.parameters(("template",), template=fields.template("Template", "Text with `{{name}}` in it.")),
    ports=_ports,
    deterministic=True,
)


async def run(call: NodeCall) -> Outputs:
    """Put the inputs in; what stands in them is no template."""
    return {"text": fill(call.params["template"], call.inputs)}
