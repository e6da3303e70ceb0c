"""Flows to test with: small ones written by hand, large ones and odd ones made up."""

import json
import random
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from polyforge.flows.built_in import built_in
from polyforge.flows.document import Document
from polyforge.flows.problems import Problem
from polyforge.flows.reading import load
from polyforge.flows.validating import validate

Json = Any
MODEL = {"$ref": "model:assistant"}


def node(kind: str, params: Mapping[str, Json] | None = None, v: int = 1, /, **inputs: Json) -> dict[str, Json]:
    """A node; inputs that are pairs are links."""
    made: dict[str, Json] = {"type": kind, "v": v}
    if params:
        made["params"] = dict(params)
    if inputs:
        made["in"] = {port: link(*given) if isinstance(given, tuple) else given for port, given in inputs.items()}
    return made


def link(source: str, port: str, coerce: str | None = None) -> dict[str, Json]:
    """A link."""
    return {"from": [source, port], **({"coerce": coerce} if coerce else {})}


def flow(nodes: Mapping[str, Json], **more: Json) -> dict[str, Json]:
    """A flow around nodes, as JSON."""
    return {"schema": "flow.v1", "name": "Test", "interface": {}, "nodes": dict(nodes), **more}


def answering(**nodes: Json) -> dict[str, Json]:
    """A flow that answers a question, with more nodes in it."""
    return flow(
        {
            "question": node("flow.input", {"name": "question"}),
            "prompt": node("prompt.template", {"template": "Answer: {{q}}"}, q=("question", "value")),
            "chat": node("model.chat", {"model": MODEL, "prompt": "{{p}}"}, p=("prompt", "text")),
            "answer": node("flow.output", {"name": "answer"}, value=("chat", "text")),
            **nodes,
        },
        interface={"inputs": {"question": {"type": "text"}}, "outputs": {"answer": {"type": "text"}}},
    )


def loaded(value: Json) -> Document:
    """A flow that reads well."""
    reading = load(value)
    assert reading.document is not None, reading.problems
    return reading.document


def problems(value: Json) -> tuple[Problem, ...]:
    """What is wrong with a flow that reads well."""
    return validate(loaded(value), built_in())


def found(value: Json) -> list[tuple[str, str | None]]:
    """The codes of what is wrong, with the nodes."""
    return [(each.code, each.node) for each in problems(value)]


def refused(value: Json) -> tuple[str, str | None, str | None]:
    """The code, the node and the place of what keeps a flow from being read."""
    reading = load(value)
    assert reading.document is None
    first = reading.problems[0]
    return first.code, first.node, first.param


def generated(count: int, seed: int = 1) -> dict[str, Json]:
    """A flow of `count` nodes of several types, each linked to ones before it, with nothing wrong in it."""
    chance, nodes, texts = random.Random(seed), dict[str, Json](), [("in", "value")]
    nodes["in"] = node("flow.input", {"name": "text"})
    while len(nodes) < count - 1:
        name = f"n{len(nodes)}"
        kind = chance.choice(("template", "template", "chat", "branch", "transform", "extract"))
        source = chance.choice(texts[-20:])
        nodes[name], port = _one(kind, source, chance.choice(texts))
        if port:
            texts.append((name, port))
    nodes["out"] = node(
        "flow.output", {"name": "text"}, value=next(pair for pair in reversed(texts) if pair[1] != "then")
    )
    return flow(nodes, interface={"inputs": {"text": {"type": "text"}}, "outputs": {"text": {"type": "text"}}})


def _one(kind: str, source: tuple[str, str], other: tuple[str, str]) -> tuple[dict[str, Json], str | None]:
    match kind:
        case "template":
            params = {"template": "Write about {{a}} and {{b}}, in two sentences that everybody understands."}
            return node("prompt.template", params, a=source, b=other), "text"
        case "chat":
            params = {"model": MODEL, "system": "You write plainly.", "prompt": "{{p}}", "temperature": 0.2}
            return node("model.chat", params, p=source), "text"
        case "branch":
            params = {"when": "size(value) > 10 && value.contains('a')", "inputs": {"value": "text"}}
            return node("control.branch", params, value=source), None
        case "transform":
            params = {"jmespath": "a[0:3]", "inputs": {"a": "text"}, "result": "text"}
            return node("data.transform", params, a=source), "value"
        case _:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
            return node("model.extract", {"model": MODEL, "schema": schema}, text=source), None


names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_-]{0,10}\Z").filter(lambda name: name not in ("constructor", "prototype"))
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
keys = st.text(st.characters(categories=["L", "N", "P"], include_characters=" "), max_size=10).filter(
    lambda key: key != "__proto__"
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


@st.composite
def made_up_inputs(draw: st.DrawFn, known: list[str]) -> Json:
    """A link, or a value that is written down."""
    if draw(st.booleans()):
        return link(draw(st.sampled_from(known)), draw(names), draw(st.none() | st.just("number_to_text")))
    value = draw(values)
    return {"$literal": value} if isinstance(value, dict) and value.keys() & {"from", "$literal"} else value


@st.composite
def made_up_flows(draw: st.DrawFn) -> dict[str, Json]:
    """Flows that can be read, whatever they mean: types that nobody knows, links that lead nowhere."""
    ids = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    nodes = {
        name: {
            "type": draw(st.sampled_from(["prompt.template", "acme.unknown", "model.chat"])),
            "v": draw(st.integers(1, 3)),
            "params": draw(st.dictionaries(keys, values, max_size=3)),
            "in": draw(st.dictionaries(names, made_up_inputs(ids), max_size=3)),
            "policy": draw(
                st.fixed_dictionaries({}, optional={"retries": st.integers(0, 10), "cache": st.just("auto")})
            ),
        }
        for name in ids
    }
    whole = flow(nodes, ui=draw(st.dictionaries(keys, values, max_size=2)))
    whole["control"] = [{"from": [ids[0], "then"], "to": ids[-1]}] if draw(st.booleans()) else []
    if draw(st.booleans()):
        whole["groups"] = {"loop_": {"kind": "foreach", "nodes": draw(st.lists(st.sampled_from(ids), unique=True))}}
    if draw(st.booleans()):
        declared = {
            "type": draw(st.sampled_from(["text", "list< number >", "record{b?: text, a: json}"])),
            "default": draw(values),
        }
        whole["interface"] = {"inputs": {draw(names): declared}}
    return whole


def shuffled(value: Json, chance: random.Random) -> Json:
    """The same JSON with the keys of its objects in another order."""
    if isinstance(value, dict):
        items = list(value.items())
        chance.shuffle(items)
        return {key: shuffled(inner, chance) for key, inner in items}
    return [shuffled(inner, chance) for inner in value] if isinstance(value, list) else value


def as_bytes(value: Json) -> bytes:
    """JSON as somebody might write it into a file."""
    return json.dumps(value, indent=1).encode()
