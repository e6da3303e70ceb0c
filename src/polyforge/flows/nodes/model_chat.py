"""A model that answers."""

from collections.abc import Mapping
from typing import Any, Final, cast

from polyforge.flows import fields
from polyforge.flows.asking import chat, picture_part, require_task
from polyforge.flows.document import Interface, Json
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.templates import fill, names_in

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


_OPTIONS: Final = ("temperature", "max_tokens", "stop")
_PICTURE: Final = "image_object"
"""How a message that nodes hand on holds a picture: as what it is called in the object store."""


async def run(call: NodeCall) -> Outputs:
    """Ask the model; what it says is told as it comes."""
    require_task(call, "chat")
    asked: list[Mapping[str, Any]] = [*call.inputs.get("messages", ()), *_question(call)]
    system = fill(call.params["system"], call.inputs) if "system" in call.params else ""
    sent = [{"role": "system", "content": system}] if system else list[dict[str, Any]]()
    sent += [{**message, "content": await _content(call, message.get("content"))} for message in asked]
    options = {name: call.params[name] for name in _OPTIONS if name in call.params}
    said = await chat(call, sent, options, on_text=call.token)
    return {
        "text": said.text,
        "messages": [*asked, {"role": "assistant", "content": said.text}],
        "usage": {"input": said.input, "output": said.output},
    }


def _question(call: NodeCall) -> list[dict[str, Json]]:
    """What is asked after the messages, as nodes hand it on."""
    prompt = fill(call.params["prompt"], call.inputs) if "prompt" in call.params else ""
    pictures = [{"type": _PICTURE, "object": each} for each in call.inputs.get("images", ())]
    if not pictures:
        return [{"role": "user", "content": prompt}] if prompt else []
    words = [{"type": "text", "text": prompt}] if prompt else []
    return [{"role": "user", "content": [*words, *pictures]}]


async def _content(call: NodeCall, content: Any) -> Any:
    """The content of a message as the gateway takes it."""
    if not isinstance(content, list):
        return content
    return [await _part(call, part) for part in cast("list[Any]", content)]


async def _part(call: NodeCall, part: Any) -> Any:
    if not isinstance(part, dict) or cast("dict[str, Any]", part).get("type") != _PICTURE:
        return cast("Any", part)
    return await picture_part(call, part["object"])
