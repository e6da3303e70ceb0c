"""Somebody decides."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports, port, with_holes
from polyforge.flows.porttypes import record_of
from polyforge.flows.schema_types import type_of_schema
from polyforge.flows.templates import names_in

_WHO = "^(user|group|role):.{1,200}$"


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    form = params.get("form")
    answers = record_of({}) if form is None else type_of_schema(form)
    outputs = {
        "approved": Port(answers, "What the form says"),
        "rejected": port("record{reason: text}", "Why not"),
        "expired": port("record{}", "Nobody decided in time"),
    }
    inputs = {"show": port("any", "What to look at", required=False)}
    return with_holes(Ports(inputs, outputs), names_in(params["question"]))


NODE = NodeType(
    type="human.approval",
    v=1,
    title="Approval",
    description="Waits until somebody decides, with a form; the run costs nothing meanwhile and survives restarts.",
    category="people",
    params=fields.parameters(
        ("question", "assignees", "expires_in_s"),
        question=fields.template("Question", "What is to be decided."),
        form=fields.schema("Form", "What to fill in, as a JSON schema of an object."),
        assignees=fields.many(
            fields.text("Who", "`user:`, `group:` or `role:` and a name.", most=260, pattern=_WHO),
            "Who may decide", least=1, most=50,
        ),
        expires_in_s=fields.whole(
            "Waits at most", "In seconds; then `expired` happens.", least=60, most=7_776_000,
            missing="approval_without_expiry",
        ),
    ),
    ports=_ports,
    capabilities=("people",),
    effect="repeatable",
    exclusive=True,
    timeout_s=None,
)  # fmt: skip
