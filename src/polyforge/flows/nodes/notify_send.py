"""A message to people or machines."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.templates import names_in


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    names = (*names_in(params.get("subject", "")), *names_in(params["text"]))
    return with_holes(Ports({}, {"sent_at": port("text", "When it was sent")}), names)


_TO = fields.many(fields.text("Address", least=3, most=254, pattern="^[^@\\s]+@[^@\\s]+$"), "To", least=1, most=50)
_WEBHOOK = fields.either(
    "Address", fields.secret("Secret with the address"), fields.text("Address", most=4_000, marks={"x-url": True})
)

NODE = NodeType(
    type="notify.send",
    v=1,
    title="Notify",
    description="Sends a message to Slack, by e-mail or to a webhook.",
    category="people",
    params=fields.one_of(
        fields.parameters(
            ("text",),
            slack=fields.secret("Slack", "The secret that holds the address of an incoming webhook."),
            email=_TO,
            webhook=_WEBHOOK,
            subject=fields.template("Subject"),
            text=fields.template("Text"),
        ),
        "slack",
        "email",
        "webhook",
    ),
    ports=_ports,
    capabilities=("notify",),
    effect="once",
)
