"""The reference of the flow format and of the types of nodes, written from the code for tools/docs.py."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polyforge.flows import bounds
from polyforge.flows.built_in import built_in
from polyforge.flows.canonical import version_id
from polyforge.flows.coercions import COERCIONS
from polyforge.flows.document import NAME, RESERVED, Interface
from polyforge.flows.nodetypes import NodeType
from polyforge.flows.porttypes import KINDS
from polyforge.flows.problems import MEANINGS
from polyforge.flows.reading import read
from polyforge.flows.validating import validate

TEMPLATE = Path(__file__).with_name("flow_format.md")
"""The prose, with `@name@` where something follows from the code."""


def flow_format_page() -> str:
    """What a flow is."""
    page = TEMPLATE.read_text()
    example = read(page.partition("```json\n")[2].partition("```")[0].encode())
    assert example.document is not None, example.problems
    assert not validate(example.document, built_in()), "the example of the page is wrong"
    known = {
        "name_pattern": NAME.replace("\\Z", "$"),
        "reserved_names": ", ".join(f"`{name}`" for name in sorted(RESERVED)),
        "max_timeout": f"{bounds.MAX_TIMEOUT:,}",
        "max_retries": str(bounds.MAX_RETRIES),
        "max_expression": f"{bounds.MAX_EXPRESSION:,}",
        "example_id": version_id(example.document),
        "types": table(("type", "values", "fits without a conversion"), types()),
        "coercions": table(("`coerce`", "from", "to", "what it does"), coercions()),
        "limits": table(("what", "at most"), limits()),
        "problems": table(("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in MEANINGS.items())),
    }
    for name, said in known.items():
        assert f"@{name}@" in page
        page = page.replace(f"@{name}@", said.rstrip("\n"))
    return page


def types() -> list[tuple[str, ...]]:
    """The kinds of types."""
    return [(f"`{name}`", kind.description, ", ".join(kind.above)) for name, kind in KINDS.items()]


def coercions() -> list[tuple[str, ...]]:
    """The conversions."""
    return [(f"`{each.name}`", f"`{each.sources}`", f"`{each.targets}`", each.title) for each in COERCIONS.values()]


def limits() -> list[tuple[str, str]]:
    """The bounds, in words."""
    return [
        ("bytes", f"{bounds.MAX_BYTES:,}"),
        ("values in the file", f"{bounds.MAX_VALUES:,}"),
        ("objects and lists inside one another", str(bounds.MAX_DEPTH)),
        ("characters in a text", f"{bounds.MAX_TEXT:,}"),
        ("characters in all expressions", f"{bounds.MAX_EXPRESSIONS:,}"),
        ("size of an integer", "2^53 - 1"),
        ("nodes", f"{bounds.MAX_NODES:,}"),
        ("groups", str(bounds.MAX_GROUPS)),
        ("groups inside one another", str(bounds.MAX_GROUP_DEPTH)),
        ("links", f"{bounds.MAX_LINKS:,}"),
        ("control edges", f"{bounds.MAX_CONTROL:,}"),
        ("inputs of one node", str(bounds.MAX_INPUTS)),
        ("inputs, and outputs, of the flow", str(bounds.MAX_INTERFACE)),
        ("rounds of a loop (`max_iterations`)", f"{bounds.MAX_ITERATIONS:,}"),
        ("items at a time (`parallel`)", str(bounds.MAX_PARALLEL)),
        ("problems told", str(bounds.MAX_PROBLEMS)),
    ]


def flow_nodes_page() -> str:
    """Every type of node."""
    lines = [
        "# Types of nodes\n",
        (
            "What the nodes of a [flow](flow-format.md) can be. Inputs and outputs that follow from parameters are not "
            "listed: each `{{name}}` of a template is an input of type text, and what `inputs` declares is one of its "
            "type.\n"
        ),
    ]
    for kind in built_in().all():
        lines += node_part(kind)
    return "\n".join(lines)


def node_part(kind: NodeType) -> Iterable[str]:
    """One type of node."""
    yield f"## {kind.label}: {kind.title}\n"
    yield f"{kind.description}\n"
    if kind.unavailable:
        yield f"Not available: {kind.unavailable}.\n"
    if kind.group:
        yield f"A loop, and so one of `groups` with `kind: {kind.group}`, not a node.\n"
    facts = [f"needs {', '.join(kind.capabilities)}"] if kind.capabilities else []
    facts += ["one of its outputs happens"] if kind.exclusive else []
    facts += [f"at most {kind.timeout_s} s by default"] if kind.timeout_s and not kind.group else []
    if facts:
        yield f"{'; '.join(facts).capitalize()}.\n"
    required = kind.params["required"]
    yield table(
        ("parameter", "value", "meaning"),
        (
            (f"`{name}`{'' if name not in required else ' (required)'}", value_words(schema), meaning(schema))
            for name, schema in kind.params["properties"].items()
        ),
    )
    ports = fixed_ports(kind)
    if ports:
        yield table(("port", "type", "meaning"), ports)


def fixed_ports(kind: NodeType) -> list[tuple[str, str, str]]:
    """The ports that a node has whatever its parameters are, as far as that can be told."""
    try:
        ports = kind.ports(SAMPLES.get(kind.type, {}), Interface())
    except KeyError:
        return []
    rows = [
        (f"in `{name}`{'' if port.required else '?'}", f"`{port.type}`", port.title)
        for name, port in ports.inputs.items()
    ]
    return rows + [(f"out `{name}`", f"`{port.type}`", port.title) for name, port in ports.outputs.items()]


SAMPLES: dict[str, dict[str, Any]] = {
    "control.switch": {"cases": []},
    "flow.input": {"name": ""},
    "flow.output": {"name": ""},
    "http.request": {"url": ""},
    "human.approval": {"question": ""},
    "image.generate": {"prompt": ""},
    "model.chat": {"prompt": ""},
    "model.extract": {"schema": {}},
    "notify.send": {"text": ""},
    "prompt.template": {"template": ""},
}
"""The least that the ports of a type can be told from."""


def meaning(schema: Mapping[str, Any]) -> str:
    """What a parameter is for."""
    return ": ".join(said for said in (schema["title"], schema.get("description", "")) if said)


def value_words(schema: Mapping[str, Any]) -> str:
    """What a parameter looks like."""
    if "anyOf" in schema:
        return " or ".join(value_words(each) for each in schema["anyOf"])
    if "enum" in schema:
        words = ", ".join(f"`{each}`" for each in schema["enum"])
    elif "x-ref" in schema:
        words = f'`{{"$ref": "{schema["x-ref"]}:..."}}`'
    elif "x-secret" in schema:
        words = '`{"$secret": ...}`'
    else:
        words = kind_words(schema)
    return f"{words}; `{schema['default']}`" if "default" in schema else words


def kind_words(schema: Mapping[str, Any]) -> str:
    """The kind of a value with its bounds."""
    marks = {"x-template": "template", "x-cel": "CEL", "x-jmespath": "JMESPath", "x-type": "type", "x-cron": "cron",
             "x-schema": "JSON schema"}  # fmt: skip
    if known := next((word for mark, word in marks.items() if mark in schema), None):
        return known
    if "minimum" in schema:
        return f"{schema['minimum']:,} to {schema['maximum']:,}"
    match schema["type"]:
        case "string":
            return f"text, at most {schema['maxLength']:,} characters"
        case "array":
            return f"at most {schema['maxItems']}: {value_words(schema['items'])}"
        case "boolean":
            return "true or false"
        case _:
            inner = schema.get("additionalProperties")
            return f"by name: {value_words(inner)}" if isinstance(inner, dict) else "object"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"
