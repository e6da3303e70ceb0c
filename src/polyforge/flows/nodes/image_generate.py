"""A picture from words."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.templates import names_in


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    return with_holes(Ports({}, {"image": port("image", "Picture")}), names_in(params["prompt"]))


NODE = NodeType(
    type="image.generate",
    v=1,
    title="Make a picture",
    description="Has a model paint what a prompt says.",
    category="media",
    params=fields.parameters(
        ("model", "prompt"),
        model=fields.reference("model", "Model"),
        prompt=fields.template("Prompt", "What to paint."),
        size=fields.text("Size", "Width and height, as in `1024x1024`.", most=11, pattern="^[0-9]{2,5}x[0-9]{2,5}$"),
    ),
    ports=_ports,
    capabilities=("models",),
    timeout_s=300,
    unavailable="flows cannot hand pictures on in this version yet",
)
