"""A message to people or machines."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.templates import fill, names_in


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    names = (*names_in(params.get("subject", "")), *names_in(params["text"]))
    return with_holes(Ports({}, {"sent_at": port("text", "When it was sent")}), names)


Channel = Literal["slack", "email", "webhook"]
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


async def run(call: NodeCall) -> Outputs:
    """Send the message."""
    channel, to = await _whom(call)
    subject, text = fill(call.params.get("subject", ""), call.inputs), fill(call.params["text"], call.inputs)
    await call.facilities.notifier.send(call.caller, channel, to, subject, text, key=call.idempotency_key)
    return {"sent_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")}


async def _whom(call: NodeCall) -> tuple[Channel, Sequence[str]]:
    if "email" in call.params:
        return "email", tuple(call.params["email"])
    channel: Channel = "slack" if "slack" in call.params else "webhook"
    said = call.params[channel]
    if isinstance(said, str):
        return channel, (said,)
    return channel, (await call.facilities.secrets.get(call.caller, said["$secret"]),)
