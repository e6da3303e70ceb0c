"""What a loop must have, by its kind."""

from collections.abc import Iterator
from typing import Final

from polyforge.flows.document import Document, Group
from polyforge.flows.expressions import check_cel
from polyforge.flows.linking import INDEX, ROUNDS
from polyforge.flows.problems import Problem, pointer

_ONLY_WHILE: Final = ("start", "carry", "when")
_ONLY_FOREACH: Final = ("over", "collect")


def loop_problems(document: Document) -> Iterator[Problem]:
    """What is wrong with the loops of a flow, each by itself."""
    for name, group in document.groups.items():
        if not group.nodes and not any(each.parent == name for each in document.groups.values()):
            yield Problem("bad_group", "there is nothing in it", "put nodes into it, or take it out", node=name)
        if group.max_iterations is None:
            hint = 'give "max_iterations"'
            yield Problem("loop_without_bound", "it does not say how often it runs at most", hint, node=name)
        yield from _foreach_problems(name, group) if group.kind == "foreach" else _while_problems(name, group)


def _foreach_problems(name: str, group: Group) -> Iterator[Problem]:
    if group.over is None:
        yield Problem("missing_input", "it goes over nothing", 'link "over" to a list', node=name, param="/over")
    yield from _out_of_place(name, group, _ONLY_WHILE, "while")


def _while_problems(name: str, group: Group) -> Iterator[Problem]:
    if group.when is None:
        hint = 'give "when", in CEL over its variables'
        yield Problem("bad_group", "it does not say how long it goes on", hint, node=name, param="/when")
    else:
        yield from _condition_problems(name, group.when, (*group.start, INDEX))
    for variable in sorted(group.carry.keys() - group.start.keys()):
        hint = 'give it a first value under "start"'
        param = pointer("carry", variable)
        yield Problem(
            "bad_group", f"it carries {variable!r}, which it does not begin with", hint, node=name, param=param
        )
    for variable in sorted({INDEX, ROUNDS} & group.start.keys()):
        param = pointer("start", variable)
        yield Problem("bad_id", f"{variable!r} is the loop's own", "use another name", node=name, param=param)
    yield from _out_of_place(name, group, _ONLY_FOREACH, "foreach")
    if group.parallel > 1:
        message = "each round needs the one before it"
        yield Problem("bad_group", message, 'leave "parallel" out', node=name, param="/parallel")


def _condition_problems(name: str, when: str, names: tuple[str, ...]) -> Iterator[Problem]:
    try:
        check_cel(when, names)
    except ValueError as error:
        hint = "write it in CEL over the variables of the loop"
        yield Problem("bad_expression", str(error), hint, node=name, param="/when")


def _out_of_place(name: str, group: Group, fields: tuple[str, ...], kind: str) -> Iterator[Problem]:
    for field in fields:
        if getattr(group, field):
            message = f"{field!r} belongs to a loop of kind {kind!r}"
            yield Problem("bad_group", message, "leave it out, or change the kind", node=name, param=f"/{field}")
