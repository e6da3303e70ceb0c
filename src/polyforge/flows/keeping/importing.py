"""Flows from files: what they need is told before they are taken; reading one executes nothing and calls nobody."""

from collections import Counter

import msgspec

from polyforge.flows.document import Document, Requires
from polyforge.flows.keeping.changing import Tools
from polyforge.flows.keeping.contents import required
from polyforge.flows.keeping.records import Draft
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.migrating import Migrated, Migration, migrate
from polyforge.flows.nodetypes import NodeTypes
from polyforge.flows.problems import Problem
from polyforge.flows.reading import read
from polyforge.flows.requirements import requirements
from polyforge.flows.validating import Checked, check
from polyforge.tenancy.callers import Caller


class Inspection(msgspec.Struct, frozen=True):
    """What a flow is and needs, whether or not it can run here."""

    document: Document
    needs: Requires
    node_types: dict[str, int]
    """How many nodes there are of each type."""
    unknown_types: tuple[str, ...]
    migrations: tuple[Migration, ...]
    checked: Checked
    problems: tuple[Problem, ...]


class Importing:
    """Looks at files, and makes flows of them."""

    def __init__(self, tools: Tools, flows: FlowService) -> None:
        self._tools = tools
        self._flows = flows

    @property
    def types(self) -> NodeTypes:
        """The types of nodes that there are here."""
        return self._tools.desk.types

    async def load(self, value: object) -> Document:
        """The flow in decoded JSON; Faulty where there is none."""
        return await self._tools.desk.load(value)

    async def inspect(self, content: bytes, *, newest: bool = False) -> Inspection:
        """What is in a file; `newest`: with its nodes in the newest versions of their types. Faulty: no flow is."""
        types = self._tools.desk.types
        return await self._tools.desk.run(lambda: inspected(required(read(content)), types, newest=newest))

    async def take(self, caller: Caller, inspection: Inspection, slug: str | None) -> Draft:
        """Make a flow of it; its draft may be wrong."""
        return await self._flows.create(caller, document=inspection.document, slug=slug)


def inspected(document: Document, types: NodeTypes, *, newest: bool) -> Inspection:
    """What a flow is and needs."""
    migrated = migrate(document, types) if newest else Migrated(document)
    checked = check(migrated.document, types)
    nodes = migrated.document.nodes.values()
    unknown = {f"{node.type}@{node.v}" for node in nodes if types.get(node.type, node.v) is None}
    return Inspection(
        document=migrated.document,
        needs=requirements(migrated.document, types),
        node_types=dict(sorted(Counter(f"{node.type}@{node.v}" for node in nodes).items())),
        unknown_types=tuple(sorted(unknown)),
        migrations=migrated.migrations,
        checked=checked,
        problems=(*migrated.problems, *checked.problems),
    )
