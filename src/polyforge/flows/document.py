"""A flow, as `flow.v1` writes it: flat and id-keyed. What is not here is not in the format."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from polyforge.flows import bounds

SCHEMA: Final = "flow.v1"
NAME: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,63}\Z"
"""What nodes, groups, ports, inputs and outputs may be called: no other script, so that no two look alike."""
RESERVED: Final = frozenset({"constructor", "prototype", "hasOwnProperty", "toString", "valueOf"})
"""Names that every object of JavaScript has already."""

Name = Annotated[str, Meta(pattern=NAME)]
TypeName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}(\.[a-z][a-z0-9_]{0,39}){1,3}\Z")]
Title = Annotated[str, Meta(max_length=200)]
Note = Annotated[str, Meta(max_length=4_000)]
WrittenType = Annotated[str, Meta(max_length=4_000)]
Place = tuple[Name, Name]
"""A node (or group) and one of its ports."""
Join = Literal["all", "any", "first"]
OnError = Literal["fail", "default", "branch"]
Json = Any
"""Any JSON value."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A piece of the format: what it does not know is refused, and defaults are not written."""


class Link(Part, frozen=True):
    """An input that comes from an output. `coerce` names the conversion on the way, where one is needed."""

    source: Place = msgspec.field(name="from")
    coerce: Annotated[str, Meta(max_length=64)] | None = None


class Given(msgspec.Struct, frozen=True):
    """An input whose value is written down."""

    value: Json


Input = Link | Given


class Policy(Part, frozen=True):
    """How a node runs. `default`: its outputs where it fails and `on_error` is `default`; None: what its type says."""

    timeout_s: Annotated[int, Meta(ge=1, le=bounds.MAX_TIMEOUT)] | None = None
    retries: Annotated[int, Meta(ge=0, le=bounds.MAX_RETRIES)] = 0
    cache: Literal["off", "auto"] = "off"
    on_error: OnError = "fail"
    default: dict[Name, Json] = {}
    join: Join | None = None


class Node(msgspec.Struct, frozen=True):
    """One node. `inputs` is `in` in the file."""

    type: str
    v: int
    params: Mapping[str, Json]
    inputs: Mapping[str, Input]
    policy: Policy = Policy()
    title: str | None = None


class Group(msgspec.Struct, frozen=True):
    """A loop around nodes. Inside, its `item` or variables and its `index` can be linked to; outside, what it leaves.

    `foreach`: once for each item of `over`; what `collect` names leaves it as lists in the same order. `while`: as long
    as `when` holds for the variables, which begin as `start` and go on as `carry`; their last values leave it.
    """

    kind: Literal["foreach", "while"]
    nodes: tuple[str, ...]
    parent: str | None = None
    title: str | None = None
    max_iterations: int | None = None
    over: Input | None = None
    parallel: int = 1
    on_error: Literal["fail", "leave_out"] = "fail"
    collect: Mapping[str, Place] = {}
    start: Mapping[str, Input] = {}
    carry: Mapping[str, Place] = {}
    when: str | None = None


class Declared(Part, frozen=True):
    """An input of the flow. It must be given unless it has a default or `required` is false."""

    type: WrittenType
    title: Title | None = None
    description: Note | None = None
    required: bool = True
    default: Json | msgspec.UnsetType = msgspec.UNSET


class Promised(Part, frozen=True):
    """An output of the flow."""

    type: WrittenType
    title: Title | None = None
    description: Note | None = None


class Interface(Part, frozen=True):
    """What goes into a flow and what comes out."""

    inputs: dict[Name, Declared] = {}
    outputs: dict[Name, Promised] = {}


class Control(Part, frozen=True):
    """A node that waits for an output without taking it."""

    source: Place = msgspec.field(name="from")
    target: Name = msgspec.field(name="to")


class Licence(Part, frozen=True):
    """What others may do with a flow: an SPDX expression, or terms in full."""

    spdx: Annotated[str, Meta(max_length=200)] | None = None
    terms: Annotated[str, Meta(max_length=20_000)] | None = None


class Requires(Part, frozen=True):
    """What a flow says that it needs: shown to whoever imports it, and compared with what its nodes need."""

    capabilities: tuple[Title, ...] = ()
    secrets: tuple[Title, ...] = ()
    references: tuple[Title, ...] = ()
    nodes: tuple[Title, ...] = ()


class Document(msgspec.Struct, frozen=True):
    """A flow. `ui` is where the editor keeps what does not count: two flows that differ in it are the same version."""

    name: str
    interface: Interface = Interface()
    nodes: Mapping[str, Node] = {}
    groups: Mapping[str, Group] = {}
    control: tuple[Control, ...] = ()
    description: str | None = None
    licence: Licence | None = None
    requires: Requires = Requires()
    ui: Mapping[str, Json] = {}


def written(document: Document) -> dict[str, Json]:
    """The flow as JSON, in the one way in which it is written: without defaults, sorted where order means nothing."""
    whole: dict[str, Json] = {
        "schema": SCHEMA,
        "name": document.name,
        "description": document.description,
        "licence": None if document.licence is None else msgspec.to_builtins(document.licence),
        "interface": msgspec.to_builtins(document.interface),
        "nodes": {name: written_node(node) for name, node in document.nodes.items()},
        "groups": {name: written_group(group) for name, group in document.groups.items()},
        "control": [{"from": list(edge.source), "to": edge.target} for edge in document.control],
        "requires": {field: list(listed) for field, listed in _requires(document.requires) if listed},
        "ui": dict(document.ui),
    }
    always = ("schema", "name", "interface", "nodes")
    return {key: value for key, value in whole.items() if key in always or value not in (None, {}, [])}


def written_node(node: Node) -> dict[str, Json]:
    """A node as JSON."""
    whole = {
        "type": node.type,
        "v": node.v,
        "params": dict(node.params),
        "in": {port: written_input(each) for port, each in node.inputs.items()},
        "policy": msgspec.to_builtins(node.policy),
        "title": node.title,
    }
    return {key: value for key, value in whole.items() if value not in (None, {})}


def written_group(group: Group) -> dict[str, Json]:
    """A group as JSON."""
    whole: dict[str, Json] = {
        "kind": group.kind,
        "nodes": list(group.nodes),
        "parent": group.parent,
        "title": group.title,
        "max_iterations": group.max_iterations,
        "over": None if group.over is None else written_input(group.over),
        "parallel": None if group.parallel == 1 else group.parallel,
        "on_error": None if group.on_error == "fail" else group.on_error,
        "collect": {name: list(place) for name, place in group.collect.items()},
        "start": {name: written_input(each) for name, each in group.start.items()},
        "carry": {name: list(place) for name, place in group.carry.items()},
        "when": group.when,
    }
    always = ("kind", "nodes", "over")
    return {key: value for key, value in whole.items() if value not in (None, {}) or (key in always and value == {})}


def written_input(given: Input) -> Json:
    """A link as `{"from": ...}`; a value as it is, or as `{"$literal": ...}` where it would be read as a link."""
    if isinstance(given, Link):
        link: dict[str, Json] = {"from": list(given.source)}
        return link if given.coerce is None else {**link, "coerce": given.coerce}
    return {"$literal": given.value} if must_be_marked(given.value) else given.value


def must_be_marked(value: Json) -> bool:
    """Whether a value that is written down would be read as a link or as a mark."""
    return isinstance(value, dict) and ("from" in value or "$literal" in value)


def _requires(requires: Requires) -> Iterator[tuple[str, tuple[str, ...]]]:
    return zip(Requires.__struct_fields__, msgspec.structs.astuple(requires), strict=True)
