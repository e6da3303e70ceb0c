"""A guardrail over a text."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port
from polyforge.flows.running.contract import NodeCall, Outputs

NODE = NodeType(
    type="guardrail.check",
    v=1,
    title="Guardrail",
    description="Has a guardrail of the installation judge a text; what it masks goes on masked.",
    category="control",
    params=fields.parameters(("guardrail",), guardrail=fields.reference("guardrail", "Guardrail")),
    ports=fixed(
        {"text": port("text", "Text")},
        {
            "passed": port("text", "The text, masked where the guardrail masks"),
            "blocked": port("record{kinds: list<text>}", "What was found"),
        },
    ),
    exclusive=True,
)


async def run(call: NodeCall) -> Outputs:
    """Have the text judged."""
    name = call.params["guardrail"]["$ref"].partition(":")[2]
    verdict = await call.facilities.guardrails.check(call.caller, (name,), call.inputs["text"], "input")
    if verdict.passed:
        return {"passed": verdict.text}
    return {"blocked": {"kinds": list(verdict.kinds)}}
