"""What is wrong with a flow, as data: a closed list of codes, each with what it means."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

import msgspec

from polyforge.flows.bounds import MAX_PROBLEMS
from polyforge.kernel.errors import Invalid

Severity = Literal["error", "warning"]
"""An error keeps a flow from running; a warning does not."""

Code = Literal[
    "too_large",
    "not_json",
    "duplicate_key",
    "too_deep",
    "bad_number",
    "bad_text",
    "unknown_schema",
    "wrong_shape",
    "unknown_field",
    "bad_id",
    "bad_type",
    "too_many",
    "too_many_problems",
    "unknown_node_type",
    "unknown_version",
    "node_unavailable",
    "migration_failed",
    "bad_param",
    "bad_reference",
    "bad_template",
    "bad_expression",
    "bad_schema",
    "literal_secret",
    "private_address",
    "approval_without_expiry",
    "unknown_node",
    "unknown_port",
    "unknown_input",
    "missing_input",
    "bad_literal",
    "type_mismatch",
    "coercion_needed",
    "wrong_coercion",
    "link_into_group",
    "bad_group",
    "loop_without_bound",
    "cycle",
    "never_runs",
    "misplaced_node",
    "unknown_interface",
    "duplicate_output",
    "unreachable_output",
    "bad_policy",
    "unused_node",
    "unused_input",
    "undeclared_requirement",
]

MEANINGS: Final[Mapping[Code, str]] = {
    "too_large": "The file, a text or an expression is longer than a flow may have.",
    "not_json": "The file is not JSON in UTF-8.",
    "duplicate_key": "A key stands twice in one object, so readers would disagree about its value.",
    "too_deep": "Objects and lists are nested too deep.",
    "bad_number": "A number is not finite, or so large that not every reader keeps it.",
    "bad_text": "A text or key holds characters that no store keeps, or that make it look like another one.",
    "unknown_schema": "The file says that it is something else than `flow.v1`.",
    "wrong_shape": "A value is of another kind than its place needs.",
    "unknown_field": "A field that the format does not have.",
    "bad_id": "An id or a name is not made of the letters that those may have, or stands for two things.",
    "bad_type": "A type that does not exist, or is written wrongly.",
    "too_many": "More nodes, links, groups or declarations than a flow may have.",
    "too_many_problems": "There are more problems; the first ones are shown.",
    "unknown_node_type": "Nobody here knows this type of node. The flow can be kept, compared and changed, not run.",
    "unknown_version": "The type of node is known, this version of it is not.",
    "node_unavailable": "The type of node is known and cannot run in this installation; the message says why.",
    "migration_failed": "A node could not be brought to the newest version of its type.",
    "bad_param": "A parameter of a node is missing, unknown or wrong.",
    "bad_reference": "A `$ref` or `$secret` is not written as one, or is of the wrong kind.",
    "bad_template": "A template holds something else than text and `{{name}}`.",
    "bad_expression": "An expression in CEL or JMESPath is wrong, or names what it is not given.",
    "bad_schema": "A parameter that must be a JSON schema is none.",
    "literal_secret": "Something that looks like a key or password stands in the flow itself.",
    "private_address": "An address in a private network; calling it is refused unless the operator allows it.",
    "approval_without_expiry": "An approval waits for ever.",
    "unknown_node": "A link, a group or a control edge names a node that is not there.",
    "unknown_port": "A link names an output that its node does not have.",
    "unknown_input": "A node is given an input that it does not have.",
    "missing_input": "An input that a node needs has neither a value nor a link.",
    "bad_literal": "A value that is written down does not fit its input.",
    "type_mismatch": "An output is linked to an input of another type.",
    "coercion_needed": "An output fits its input after a conversion, which the link must name.",
    "wrong_coercion": "The conversion that a link names does not lead from one type to the other, or is not needed.",
    "link_into_group": "A node takes something out of the middle of a loop; only what the loop collects leaves it.",
    "bad_group": "A group names nodes or parents that do not fit, or lacks what its kind needs.",
    "loop_without_bound": "A loop does not say how often it runs at most.",
    "cycle": "Nodes wait for one another. What repeats belongs in a loop.",
    "never_runs": "A node waits for two things of which only one can happen.",
    "misplaced_node": "A node that belongs to the flow as a whole is in a loop, or a loop stands where a node must.",
    "unknown_interface": "A node is for an input or output that the flow does not declare.",
    "duplicate_output": "Two nodes give the same output.",
    "unreachable_output": "No node gives an output that the flow declares.",
    "bad_policy": "A policy asks of a node what that node cannot do.",
    "unused_node": "Nothing takes what a node makes, and it does nothing else.",
    "unused_input": "No node takes an input that the flow declares.",
    "undeclared_requirement": "The list of what the flow requires lacks something that its nodes need.",
}

assert tuple(MEANINGS) == get_args(Code)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong, where it is, and what to do about it.

    `node` may be a group. `param` is a JSON pointer into the node as it is written, where there is one, else into the
    flow. What is wrong only because of it has no problem of its own, and is in `dependents`.
    """

    code: Code
    message: str
    hint: str = ""
    node: str | None = None
    port: str | None = None
    param: str | None = None
    severity: Severity = "error"
    dependents: tuple[str, ...] = ()


def errors_in(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those that keep a flow from running."""
    return tuple(problem for problem in problems if problem.severity == "error")


def told(problems: list[Problem]) -> tuple[Problem, ...]:
    """As many as are told, errors first, each once."""
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.severity)
    if len(ordered) <= MAX_PROBLEMS:
        return tuple(ordered)
    rest = len(ordered) - MAX_PROBLEMS
    hint, worst = "mend these, then check again", ordered[MAX_PROBLEMS].severity
    more = Problem("too_many_problems", f"there are {rest} more problems", hint, severity=worst)
    return (*ordered[:MAX_PROBLEMS], more)


def refuse(problems: Iterable[Problem]) -> None:
    """Raise Invalid with the first error, if there is one; `param` says where it is."""
    for problem in errors_in(problems):
        place = problem.node or problem.param
        where = f"node {problem.node}: " if problem.node else ""
        raise Invalid(f"{where}{problem.message}; {problem.hint}".rstrip("; "), param=place)


def pointer(*keys: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)
