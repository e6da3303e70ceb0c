"""A model that answers."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.templates import names_in

_IMAGES = port("list<image>", "Pictures to look at", required=False)
_OUTPUTS = {
    "text": port("text", "Answer"),
    "messages": port("messages", "The conversation with the answer"),
    "usage": port("record{input: number, output: number}", "Tokens used"),
}


def _ports(params: Params, interface: Interface) -> Ports:
    """With a prompt the messages can be left out; a model that is asked nothing has nothing to answer."""
    del interface
    messages = port("messages", "What was said before", required="prompt" not in params)
    ports = Ports({"messages": messages, "images": _IMAGES}, _OUTPUTS)
    return with_holes(ports, (*names_in(params.get("system", "")), *names_in(params.get("prompt", ""))))


NODE = NodeType(
    type="model.chat",
    v=1,
    title="Chat model",
    description="Asks a chat model of the gateway, with its limits, guardrails and costs.",
    category="models",
    params=fields.parameters(
        ("model",),
        model=fields.reference("model", "Model"),
        system=fields.template("System prompt", "What the model is told about its part."),
        prompt=fields.template("Prompt", "What the model is asked, after the messages that come in."),
        temperature=fields.number("Temperature", "0 is the most repeatable.", least=0, most=2),
        max_tokens=fields.whole("Longest answer", "In tokens.", least=1, most=1_000_000),
        stop=fields.many(fields.text("Text", least=1, most=100), "Stop at", most=4),
    ),
    ports=_ports,
    capabilities=("models",),
    timeout_s=300,
)
