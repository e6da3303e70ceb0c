"""From JSON to a flow: strict about what the format is, silent about what nodes mean.

Whatever reads here can be kept, shown and compared, also where nobody knows its types of nodes; `validating` says
whether it can run.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar, cast

import msgspec
from msgspec import Meta

from polyforge.flows import bounds
from polyforge.flows.canonical import save
from polyforge.flows.document import (
    NAME,
    RESERVED,
    SCHEMA,
    Control,
    Declared,
    Document,
    Given,
    Group,
    Input,
    Interface,
    Licence,
    Link,
    Name,
    Node,
    Note,
    Part,
    Place,
    Policy,
    Promised,
    Requires,
    Title,
    TypeName,
    must_be_marked,
    written,
)  # fmt: skip
from polyforge.flows.json_reading import Refused, fault_in, fault_problem, read_json, values_in
from polyforge.flows.porttypes import parse_type
from polyforge.flows.problems import Code, Problem, pointer

_T = TypeVar("_T")
_NAME: Final = re.compile(NAME)
_PATTERN: Final = re.compile(r"Expected `str` matching regex .*", re.DOTALL)
_PATH: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_HIDDEN: Final = re.compile("[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_LONGER: Final = 6
"""How many times longer than another JSON the canonical form is at most."""
_Objects = Mapping[str, Any]


class Reading(msgspec.Struct, frozen=True):
    """What a file holds: a flow, or problems."""

    document: Document | None
    problems: tuple[Problem, ...] = ()


class _FlowShape(Part, frozen=True):
    schema: Literal["flow.v1"]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    description: Note | None = None
    licence: Licence | None = None
    interface: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    nodes: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    groups: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    control: list[Any] = msgspec.field(default_factory=list[Any])
    requires: Requires = Requires()
    ui: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class _InterfaceShape(Part, frozen=True):
    inputs: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    outputs: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class _NodeShape(Part, frozen=True):
    type: TypeName
    v: Annotated[int, Meta(ge=1, le=1_000_000)]
    params: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    inputs: dict[str, Any] = msgspec.field(name="in", default_factory=dict[str, Any])
    policy: Policy = Policy()
    title: Title | None = None


class _GroupShape(Part, frozen=True):
    kind: Literal["foreach", "while"]
    nodes: list[Name]
    parent: Name | None = None
    title: Title | None = None
    max_iterations: Annotated[int, Meta(ge=1, le=bounds.MAX_ITERATIONS)] | None = None
    over: Any = None
    parallel: Annotated[int, Meta(ge=1, le=bounds.MAX_PARALLEL)] = 1
    on_error: Literal["fail", "leave_out"] = "fail"
    collect: dict[str, Place] = msgspec.field(default_factory=dict[str, Place])
    start: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    carry: dict[str, Place] = msgspec.field(default_factory=dict[str, Place])
    when: Annotated[str, Meta(max_length=bounds.MAX_EXPRESSION)] | None = None


def read(content: bytes) -> Reading:
    """The flow in a file."""
    try:
        value = read_json(content)
    except Refused as refused:
        return Reading(None, (refused.problem,))
    return load(value)


def load(value: object) -> Reading:
    """The flow in JSON that is decoded already."""
    if fault := fault_in(value):
        return Reading(None, (fault_problem(fault),))
    if (count := values_in(value)) > bounds.MAX_VALUES:
        hint = f"keep it under {bounds.MAX_VALUES}"
        return Reading(None, (Problem("too_many", f"there are {count} values in the file", hint),))
    if not isinstance(value, dict):
        return Reading(None, (Problem("wrong_shape", "a flow is an object", 'begin it with `{"schema": "flow.v1"`'),))
    whole = cast("dict[str, Any]", value)
    schema: object = whole.get("schema")
    if schema != SCHEMA:
        message = f"the schema is {str(schema)[:40]!r}"
        return Reading(None, (Problem("unknown_schema", message, f"write {SCHEMA!r}", param="/schema"),))
    loader = _Loader()
    document = loader.document(whole)
    if document is None or loader.problems:
        return Reading(None, tuple(loader.problems[: bounds.MAX_PROBLEMS]))
    return _within_bytes(document)


def _within_bytes(document: Document) -> Reading:
    """The flow, unless it is too long as it is kept: there a float such as `1e20` has more characters."""
    about = len(msgspec.json.encode(written(document)))
    if about * _LONGER > bounds.MAX_BYTES and (size := len(save(document))) > bounds.MAX_BYTES:
        hint = f"keep it under {bounds.MAX_BYTES} bytes"
        return Reading(None, (Problem("too_large", f"the flow has {size} bytes in its canonical form", hint),))
    return Reading(document)


class _Loader:
    """Makes the parts and notes what is wrong with each, so that one wrong node does not hide another."""

    def __init__(self) -> None:
        self.problems = list[Problem]()
        self._links = 0

    def document(self, value: object) -> Document | None:
        """The whole flow."""
        shape = self._convert(value, _FlowShape, ())
        if shape is None or self._too_many(shape):
            return None
        return Document(
            name=self._seen(shape.name, "/name"),
            interface=self._interface(shape.interface),
            nodes=self._each(shape.nodes, self._node, "/nodes"),
            groups=self._each(shape.groups, self._group, "/groups"),
            control=self._control(shape.control),
            description=shape.description,
            licence=None if shape.licence == Licence() else shape.licence,
            requires=self._requires(shape.requires),
            ui=shape.ui,
        )

    def _too_many(self, shape: _FlowShape) -> bool:
        counts = (
            ("nodes", len(shape.nodes), bounds.MAX_NODES),
            ("groups", len(shape.groups), bounds.MAX_GROUPS),
            ("control", len(shape.control), bounds.MAX_CONTROL),
        )
        return sum(self._over(f"/{name}", count, most) for name, count, most in counts) > 0

    def _over(self, place: str, count: int, most: int, node: str | None = None) -> bool:
        if count > most:
            self._add("too_many", f"there are {count}", f"at most {most}; split the flow", node=node, param=place)
        return count > most

    def _interface(self, value: object) -> Interface:
        shape = self._convert(value, _InterfaceShape, ("interface",)) or _InterfaceShape()
        for name, entries in (("inputs", shape.inputs), ("outputs", shape.outputs)):
            self._over(f"/interface/{name}", len(entries), bounds.MAX_INTERFACE)
        return Interface(
            self._each(shape.inputs, self._declared, "/interface/inputs"),
            self._each(shape.outputs, self._promised, "/interface/outputs"),
        )

    def _declared(self, name: str, value: object) -> Declared | None:
        found = self._convert(value, Declared, ("interface", "inputs", name))
        return found and msgspec.structs.replace(found, type=self._type(found.type, "inputs", name))

    def _promised(self, name: str, value: object) -> Promised | None:
        found = self._convert(value, Promised, ("interface", "outputs", name))
        return found and msgspec.structs.replace(found, type=self._type(found.type, "outputs", name))

    def _type(self, text: str, side: str, name: str) -> str:
        """A type as it is always written, if that is not too long either."""
        try:
            return str(parse_type(str(parse_type(text))))
        except ValueError as error:
            self._add("bad_type", str(error), "see the reference of the format", "interface", side, name, "type")
            return "any"

    def _node(self, name: str, value: object) -> Node | None:
        shape = self._convert(value, _NodeShape, (), node=name)
        if shape is None or self._over("/in", len(shape.inputs), bounds.MAX_INPUTS, name):
            return None
        title = None if shape.title is None else self._seen(shape.title, "/title", name)
        inputs = self._inputs(shape.inputs, ("in",), name)
        return Node(shape.type, shape.v, shape.params, inputs, shape.policy, title)

    def _group(self, name: str, value: object) -> Group | None:
        shape = self._convert(value, _GroupShape, (), node=name)
        if shape is None:
            return None
        if len(shape.nodes) != len(set(shape.nodes)):
            self._add("bad_group", "a group names a node twice", "name it once", "nodes", node=name)
            return None
        for part in ("collect", "start", "carry"):
            entries: _Objects = getattr(shape, part)
            if self._over(f"/{part}", len(entries), bounds.MAX_INPUTS, name):
                return None
        self._names(shape.collect, "collect", node=name)
        self._names(shape.carry, "carry", node=name)
        over = self._inputs({} if shape.over is None else {"over": shape.over}, (), name)
        return Group(
            shape.kind, tuple(sorted(shape.nodes)), shape.parent, shape.title, shape.max_iterations, over.get("over"),
            shape.parallel, shape.on_error, shape.collect, self._inputs(shape.start, ("start",), name),
            shape.carry, shape.when,
        )  # fmt: skip

    def _inputs(self, entries: _Objects, path: Sequence[str], node: str | None) -> dict[str, Input]:
        self._names(entries, *path, node=node)
        found = {port: self._input(value, (*path, port), node) for port, value in entries.items()}
        return {port: each for port, each in found.items() if each is not None}

    def _input(self, value: object, path: Sequence[str], node: str | None) -> Input | None:
        """A link, or a value that is written down; an object with `from` or `$literal` is never a plain value."""
        if not must_be_marked(value):
            return Given(value)
        marked = cast("dict[str, Any]", value)
        if "from" in marked:
            self._links += 1
            if self._links == bounds.MAX_LINKS + 1:
                self._over(pointer(*path), self._links, bounds.MAX_LINKS, node)
            return self._convert(marked, Link, path, node=node)
        if len(marked) > 1 or not must_be_marked(marked["$literal"]):
            hint = 'write the value itself; `$literal` is for objects that have "from" or "$literal", and stands alone'
            self._add("wrong_shape", "`$literal` is not needed here", hint, *path, node=node)
            return None
        return Given(marked["$literal"])

    def _control(self, values: list[Any]) -> tuple[Control, ...]:
        edges = [self._convert(value, Control, ("control", place)) for place, value in enumerate(values)]
        found = {edge: None for edge in edges if edge is not None}
        if len(found) != len(edges) and not self.problems:
            self._add("wrong_shape", "a control edge is listed twice", "list it once", "control")
        return tuple(sorted(found, key=lambda edge: (edge.target, edge.source)))

    def _requires(self, value: Requires) -> Requires:
        lists = msgspec.structs.astuple(value)
        for name, entries in zip(Requires.__struct_fields__, lists, strict=True):
            self._over(f"/requires/{name}", len(entries), bounds.MAX_REQUIRES)
        return Requires(*(tuple(sorted(set(entries))) for entries in lists))

    def _each(self, entries: _Objects, make: Callable[[str, object], _T | None], place: str) -> dict[str, _T]:
        """Every entry made, those with wrong names left out."""
        self._names(entries, *place.strip("/").split("/"))
        made = {name: make(name, value) for name, value in entries.items() if _NAME.match(name)}
        return {name: each for name, each in made.items() if each is not None}

    def _names(self, entries: _Objects, *path: str, node: str | None = None) -> None:
        for name in entries:
            if not _NAME.match(name) or name in RESERVED:
                hint = (
                    "begin with a letter of A to Z; up to 64 letters, digits, `_` and `-`; no word of JavaScript's own"
                )
                self._add("bad_id", f"{name[:64]!r} cannot be a name", hint, *path, name[:64], node=node)

    def _seen(self, text: str, place: str, node: str | None = None) -> str:
        """A text that people read as a name."""
        if _HIDDEN.search(text):
            message = "a name holds characters that cannot be seen"
            self._add("bad_text", message, "write it with letters only", node=node, param=place)
        return text

    def _convert(self, value: object, kind: type[_T], path: Sequence[str | int], node: str | None = None) -> _T | None:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            code = "unknown_field" if "unknown field" in message else "wrong_shape"
            keys = [name or place for name, place in _PATH.findall(where.rstrip("`"))]
            self._add(code, _plain(message), "see the reference of the format", *path, *keys, node=node)
            return None

    def _add(
        self, code: Code, message: str, hint: str, *path: str | int, node: str | None = None, param: str | None = None
    ) -> None:
        self.problems.append(Problem(code, message, hint, node=node, param=param or pointer(*path) or None))


def _plain(message: str) -> str:
    """What msgspec says, in the words of the others."""
    message = _PATTERN.sub("it is not written as such names are, as in `model.chat` for a type of node", message)
    return message.replace("Object contains", "there is an").replace("Object missing required", "there is no")[:300]
