"""Flows written in Python, for scripts: what is added here becomes a document, and `hash()` is the id of its version.

`polyforge flow export --python` writes such scripts. Building a flow runs nothing and calls nobody.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal

import msgspec

from polyforge.flows.canonical import save, version_id
from polyforge.flows.document import SCHEMA, Document, Given, Json, OnError, written_input
from polyforge.flows.document import Join as JoinPolicy
from polyforge.flows.reading import load
from polyforge.kernel.errors import Invalid

_NOT_GIVEN: Final = object()
_SHOWN: Final = 5
Kind = Literal["foreach", "while"]


class Output(msgspec.Struct, frozen=True):
    """What comes out of a node or a loop."""

    node: str
    port: str
    coerce: str | None = None

    def converted(self, name: str) -> "Output":
        """The same after one of the conversions that the format has, such as `json_to_text`."""
        return msgspec.structs.replace(self, coerce=name)


class Step(msgspec.Struct, frozen=True):
    """A node of a flow; `step["text"]` is its output `text`."""

    id: str

    def __getitem__(self, port: str) -> Output:
        return Output(self.id, port)


class Loop:
    """A loop of a flow: what is added inside `with loop:` is repeated. `loop["item"]` is one of its outputs."""

    def __init__(self, id: str, written: dict[str, Json], opened: "list[Loop]") -> None:  # noqa: A002
        self.id = id
        self.written = written
        self._opened = opened

    def __getitem__(self, port: str) -> Output:
        return Output(self.id, port)

    def __enter__(self) -> "Loop":
        self._opened.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.remove(self)

    def collect(self, outputs: Mapping[str, Output]) -> None:
        """What leaves it, by name: lists in the order of the items."""
        self.written["collect"] = _places(outputs)

    def carry(self, outputs: Mapping[str, Output]) -> None:
        """With what its variables go on, by name."""
        self.written["carry"] = _places(outputs)


class Flow:
    """A flow that is being written."""

    def __init__(
        self,
        name: str,
        *,
        description: str | None = None,
        licence: Mapping[str, str] | None = None,
        requires: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._head: dict[str, Json] = {"name": name, "description": description, "licence": licence}
        self._requires = {field: list(listed) for field, listed in (requires or {}).items()}
        self._inputs = dict[str, Json]()
        self._outputs = dict[str, Json]()
        self._nodes = dict[str, Json]()
        self._loops = dict[str, Loop]()
        self._control = list[Json]()
        self._opened = list[Loop]()

    def takes(
        self,
        name: str,
        type: str,  # noqa: A002
        *,
        title: str | None = None,
        description: str | None = None,
        required: bool = True,
        default: Json = _NOT_GIVEN,
    ) -> None:
        """Declare an input of the flow; a node `flow.input` gives it to others."""
        _add(self._inputs, name, {"type": type, "required": required, **_given(title=title, description=description)})
        if default is not _NOT_GIVEN:
            self._inputs[name]["default"] = default

    def gives(
        self,
        name: str,
        type: str,  # noqa: A002
        *,
        title: str | None = None,
        description: str | None = None,
    ) -> None:
        """Declare an output of the flow; a node `flow.output` takes it from another."""
        _add(self._outputs, name, {"type": type, **_given(title=title, description=description)})

    def add(
        self,
        id: str,  # noqa: A002
        type: str,  # noqa: A002
        params: Mapping[str, Json] | None = None,
        inputs: Mapping[str, Json] | None = None,
        *,
        v: int = 1,
        title: str | None = None,
        timeout_s: int | None = None,
        retries: int | None = None,
        cache: Literal["off", "auto"] | None = None,
        on_error: OnError | None = None,
        default: Mapping[str, Json] | None = None,
        join: JoinPolicy | None = None,
    ) -> Step:
        """Add a node. An input is an output of another, or a value."""
        policy = _given(
            timeout_s=timeout_s, retries=retries, cache=cache, on_error=on_error, default=default, join=join
        )
        made: dict[str, Json] = {"type": type, "v": v, "params": dict(params or {}), "policy": policy}
        made["in"] = {port: _input(value) for port, value in (inputs or {}).items()}
        _add(self._nodes, id, {**made, **_given(title=title)})
        if self._opened:
            self._opened[-1].written["nodes"].append(id)
        return Step(id)

    def loop(
        self,
        id: str,  # noqa: A002
        kind: Kind,
        *,
        over: Json = None,
        when: str | None = None,
        start: Mapping[str, Json] | None = None,
        max_iterations: int | None = None,
        parallel: int | None = None,
        on_error: Literal["fail", "leave_out"] | None = None,
        title: str | None = None,
        nodes: Sequence[str] = (),
        parent: str | None = None,
    ) -> Loop:
        """Add a loop; `nodes` and `parent` are for what the block after `with` does not say."""
        within = self._opened[-1].id if self._opened else None
        made: dict[str, Json] = {"kind": kind, "nodes": list(nodes)}
        made["start"] = {name: _input(value) for name, value in (start or {}).items()}
        made |= _given(
            over=None if over is None else _input(over),
            when=when,
            max_iterations=max_iterations,
            parallel=parallel,
            on_error=on_error,
            title=title,
            parent=within if parent is None else parent,
        )
        found = Loop(id, made, self._opened)
        _add(self._loops, id, found)
        return found

    def at(self, node: str, port: str) -> Output:
        """The output of a node or loop that is added later."""
        return Output(node, port)

    def after(self, node: str, output: Output) -> None:
        """Let a node wait for an output without taking it."""
        self._control.append({"from": [output.node, output.port], "to": node})

    def document(self) -> Document:
        """The flow; Invalid for what cannot be one."""
        reading = load(self._written())
        if reading.document is None:
            told = "; ".join(
                f"{each.node or ''}{each.param or ''}: {each.message}" for each in reading.problems[:_SHOWN]
            )
            raise Invalid(f"this is no flow: {told}")
        return reading.document

    def hash(self) -> str:
        """The id of the version that this is."""
        return version_id(self.document())

    def to_json(self) -> str:
        """The flow as a file of the format, for `polyforge flow import`."""
        return save(self.document()).decode()

    def _written(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            **_given(**self._head),
            "interface": {"inputs": self._inputs, "outputs": self._outputs},
            "nodes": self._nodes,
            "groups": {id_: loop.written for id_, loop in self._loops.items()},
            "control": self._control,
            "requires": self._requires,
        }


def _input(value: Json) -> Json:
    """As the format writes it: a link for an output, else the value."""
    if not isinstance(value, Output):
        return written_input(Given(value))
    link: dict[str, Json] = {"from": [value.node, value.port]}
    return link if value.coerce is None else {**link, "coerce": value.coerce}


def _places(outputs: Mapping[str, Output]) -> dict[str, Json]:
    return {name: [output.node, output.port] for name, output in outputs.items()}


def _add(entries: dict[str, Any], name: str, value: Any) -> None:
    if name in entries:
        raise Invalid(f"there is a {name!r} already", param=name)
    entries[name] = value


def _given(**fields: Json) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if value is not None}
