"""A call of an API."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.templates import names_in

_PORTS = Ports(
    {"body": port("json", "Body, sent as JSON", required=False)},
    {
        "status": port("number", "Status"),
        "body": port("json", "Body of the answer, where it is JSON"),
        "text": port("text", "Body of the answer as text"),
        "headers": port("json", "Headers of the answer"),
    },
)


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    headers = [value for value in params.get("headers", {}).values() if isinstance(value, str)]
    texts = (params["url"], params.get("text", ""), *headers)
    return with_holes(_PORTS, (name for text in texts for name in names_in(text)))


NODE = NodeType(
    type="http.request",
    v=1,
    title="HTTP request",
    description="Calls an address, with an Idempotency-Key that stays the same when the step is repeated. Private "
    "networks are refused unless the operator allows them.",
    category="data",
    params=fields.parameters(
        ("url",),
        method=fields.choice("Method", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", default="GET"),
        url=fields.text(
            "Address", "With `{{name}}` for inputs, after the host.", least=1, most=4_000,
            marks={"x-template": True, "x-url": True},
        ),
        headers=fields.headers("Headers", fields.either("Value", fields.template("Text"), fields.secret("Secret"))),
        bearer=fields.secret("Bearer token", "Sent as `Authorization: Bearer ...`."),
        text=fields.template("Body as text", "Instead of the input `body`."),
        accept=fields.many(
            fields.whole("Status", least=100, most=599), "Statuses that are no errors", "Left out: 200 to 299.", most=20
        ),
        max_bytes=fields.whole("Longest answer", "In bytes.", least=1, most=16 << 20, default=1 << 20),
    ),
    ports=_ports,
    capabilities=("net",),
    effect="once",
)  # fmt: skip
