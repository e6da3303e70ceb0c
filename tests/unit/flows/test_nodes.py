"""Every type of node says all that is needed of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyforge.flows import nodes
from polyforge.flows.built_in import built_in, runners
from polyforge.flows.document import Declared, Interface, Promised
from polyforge.flows.nodetypes import NodeType, NodeTypes
from tests.support.flows import MODEL, flow, node, problems
from tests.support.node_calls import Bench
from tests.unit.flows.samples import SAMPLES

INTERFACE = Interface({"question": Declared("text")}, {"answer": Promised("number")})
TYPES = built_in().all()


def ports(name: str) -> tuple[dict[str, str], dict[str, str]]:
    kind = built_in().newest(name)
    assert kind is not None
    found = kind.ports(SAMPLES[name], INTERFACE)
    return (
        {each: str(port.type) for each, port in found.inputs.items()},
        {each: str(port.type) for each, port in found.outputs.items()},
    )


def test_there_is_a_sample_of_each() -> None:
    assert {kind.type for kind in TYPES} == SAMPLES.keys()


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.label)
def test_a_type_is_complete(kind: NodeType) -> None:
    rule = built_in().rule(kind)
    sample = SAMPLES[kind.type]
    assert rule.faults(sample) == []
    found = kind.ports(sample, INTERFACE)
    assert rule.expression_faults(sample, (*found.inputs, "index")) == []
    assert kind.title
    assert kind.description.endswith(".")
    assert kind.params["additionalProperties"] is False
    json.dumps(kind.params)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.label)
def test_every_field_has_a_title_and_a_bound(kind: NodeType) -> None:
    def look(schema: dict[str, Any], place: str) -> None:
        assert schema.get("title") or place.endswith("*"), place
        match schema.get("type"):
            case "string":
                assert "maxLength" in schema, place
            case "integer" | "number":
                assert {"minimum", "maximum"} <= schema.keys(), place
            case "array":
                assert "maxItems" in schema, place
                look(schema["items"], f"{place}/*")
            case _:
                pass
        for branch in schema.get("anyOf", []):
            look(branch, place)

    for name, schema in kind.params["properties"].items():
        look(schema, name)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.label)
def test_what_is_required_is_missed(kind: NodeType) -> None:
    sample = SAMPLES[kind.type]
    for name in kind.params["required"]:
        without = {key: value for key, value in sample.items() if key != name}
        assert built_in().rule(kind).faults(without), name
    assert built_in().rule(kind).faults({**sample, "surprise": 1})


def test_ports_follow_from_parameters() -> None:
    assert ports("prompt.template") == ({"word": "text"}, {"text": "text"})
    inputs, outputs = ports("model.chat")
    assert inputs == {"messages": "messages", "images": "list<image>", "role": "text", "q": "text"}
    assert outputs["text"] == "text"
    assert ports("model.extract")[1] == {"value": "record{a?: text}"}
    assert ports("http.request")[0] == {"body": "json", "path": "text", "word": "text"}
    assert ports("control.switch")[1].keys() == {"big", "otherwise"}
    assert ports("control.merge") == ({"a": "text", "b": "text"}, {"value": "text"})
    assert ports("flow.call") == ({"a": "text"}, {"b": "text"})
    assert ports("flow.input")[1] == {"value": "text"}
    assert ports("flow.output")[0] == {"value": "number"}


def test_a_template_cannot_take_the_name_of_an_input() -> None:
    kind = built_in().newest("model.chat")
    assert kind is not None
    with pytest.raises(ValueError, match="'messages' is an input of its own"):
        kind.ports({"model": MODEL, "prompt": "{{messages}}"}, Interface())


def test_two_types_cannot_have_one_name() -> None:
    kind = TYPES[0]
    with pytest.raises(ValueError, match="two types of nodes"):
        NodeTypes([kind, NodeType(**{name: getattr(kind, name) for name in kind.__struct_fields__})])


def test_what_is_not_here_says_why() -> None:
    gone = {kind.type for kind in TYPES if kind.unavailable}
    assert {"knowledge.retrieve", "speech.transcribe", "code.python"} <= gone
    assert "model.chat" not in gone


NEW = '''
"""A node that somebody wrote."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port
from polyforge.flows.running.contract import NodeCall, Outputs

NODE = NodeType(
    type="text.shout",
    v=1,
    title="Shout",
    description="Says a text louder.",
    category="text",
    params=fields.parameters(marks=fields.whole("Marks", least=1, most=9, default=1)),
    ports=fixed({"text": port("text", "Text")}, {"text": port("text", "The same, louder")}),
    deterministic=True,
)


async def run(call: NodeCall) -> Outputs:
    """Shout."""
    return {"text": call.inputs["text"].upper() + "!" * call.params.get("marks", 1)}
'''


@pytest.fixture
def one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file that was put beside those of the package."""
    (tmp_path / "text_shout.py").write_text(NEW)
    monkeypatch.setattr(nodes, "__path__", [*nodes.__path__, str(tmp_path)])
    for each in (built_in, runners):
        each.cache_clear()
    yield
    sys.modules.pop(f"{nodes.__name__}.text_shout", None)
    for each in (built_in, runners):
        each.cache_clear()


@pytest.mark.usefixtures("one_more")
async def test_a_new_type_is_one_new_file() -> None:
    assert await Bench().run("text.shout", {"marks": 2}, text="hi") == {"text": "HI!!"}
    shouting = flow({"a": node("text.shout", {"marks": 10}), "b": node("text.shout", {}, text="x")})
    assert [(each.code, each.node) for each in problems(shouting) if each.severity == "error"] == [
        ("bad_param", "a"),
    ]
