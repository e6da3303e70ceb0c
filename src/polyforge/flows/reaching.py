"""Which parts can never run, because they wait for two things of which only one can happen."""

from collections.abc import Iterable, Mapping
from typing import Final

from polyforge.flows.document import Document, Join
from polyforge.flows.nodetypes import ERROR_PORT, NodeType
from polyforge.flows.problems import Problem
from polyforge.flows.structure import Edge, Structure

_MOST_FACTS: Final = 200
"""Outcomes that are kept in mind for one part; with fewer, fewer contradictions are found, and no false ones."""
Facts = frozenset[tuple[str, str]]
"""What must have happened: parts, and which of their outputs."""
_NOTHING: Final[Facts] = frozenset()


class Reaching:
    """Goes through the parts in their order and keeps what must have happened before each can run."""

    def __init__(self, document: Document, structure: Structure, known: Mapping[str, NodeType]) -> None:
        self._document = document
        self._structure = structure
        self._known = known
        self._facts = dict[str, Facts | None]()
        self.problems = list[Problem]()
        for part in structure.order:
            self._facts[part] = self._needed(part)

    def _needed(self, part: str) -> Facts | None:
        """What must have happened; None where the part cannot run."""
        scope = self._structure.scope(part)
        around = self._facts.get(scope[-1], _NOTHING) if scope else _NOTHING
        edges = [edge for edge in self._structure.into[part] if edge.kind not in ("collect", "carry")]
        if around is None or not edges:
            return around
        arriving = [self._after(edge) for edge in edges]
        if self.join(part) == "all":
            return self._all(part, around, arriving)
        possible = [facts for facts in arriving if facts is not None]
        return around | possible[0].intersection(*possible[1:]) if possible else None

    def join(self, part: str) -> Join:
        """When a part runs, of what it is linked to."""
        node, kind = self._document.nodes.get(part), self._known.get(part)
        chosen = None if node is None else node.policy.join
        return chosen or (kind.join if kind is not None else "all")

    def _after(self, edge: Edge) -> Facts | None:
        """What has happened when an edge brings something."""
        facts = self._facts.get(edge.source, _NOTHING)
        outcome = self._outcome(edge)
        if facts is None or outcome is None or len(facts) >= _MOST_FACTS:
            return facts
        return facts | {(edge.source, outcome)}

    def _outcome(self, edge: Edge) -> str | None:
        """Which of the outcomes of a node an output stands for; None where all of its outputs happen together."""
        node, kind = self._document.nodes.get(edge.source), self._known.get(edge.source)
        if node is None or kind is None:
            return None
        if kind.exclusive:
            return edge.port
        if node.policy.on_error == "branch":
            return ERROR_PORT if edge.port == ERROR_PORT else "well"
        return None

    def _all(self, part: str, around: Facts, arriving: Iterable[Facts | None]) -> Facts | None:
        seen = dict[str, str](around)
        for facts in arriving:
            if facts is None:
                return None
            for source, outcome in facts:
                if seen.setdefault(source, outcome) != outcome:
                    self._contradiction(part, source, seen[source], outcome)
                    return None
        return frozenset(seen.items())

    def _contradiction(self, part: str, source: str, one: str, other: str) -> None:
        first, second = sorted((one, other))
        message = f"it waits for {source}.{first} and for {source}.{second}, and only one of them happens"
        hint = 'merge them first, or set "join" in its policy to "any"'
        self.problems.append(Problem("never_runs", message, hint, node=part))
