"""From what is kept of flows to what routes give."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import to_builtins
from msgspec.structs import asdict

from polyforge.flows.canonical import version_id
from polyforge.flows.coercions import COERCIONS
from polyforge.flows.document import Document, Interface, Licence, Node, Requires, written
from polyforge.flows.keeping.importing import Inspection
from polyforge.flows.keeping.records import Alias, AliasChange, Committed, Draft, DraftRow, Shown, VersionInfo
from polyforge.flows.keeping.schemas import (
    CoercionView,
    FlowActor,
    FlowAliasChange,
    FlowAliasView,
    FlowCheckView,
    FlowCommitView,
    FlowConflictView,
    FlowDiffView,
    FlowDraftView,
    FlowImportView,
    FlowLicenceView,
    FlowMergeView,
    FlowMigrationView,
    FlowProblemView,
    FlowRequiresView,
    FlowSummary,
    FlowVersionSummary,
    FlowVersionView,
    FlowView,
    NodePortsView,
    NodePortView,
    NodeTypePage,
    NodeTypeView,
    PortSetView,
    PortTypeView,
)
from polyforge.flows.keeping.versions import Compared, MergedDraft
from polyforge.flows.node_checks import NodeChecks
from polyforge.flows.nodetypes import NodeType, NodeTypes, Port, Ports
from polyforge.flows.porttypes import KINDS
from polyforge.flows.problems import Problem, errors_in
from polyforge.flows.requirements import requirements
from polyforge.flows.validating import Checked
from polyforge.kernel.clock import utc

Names = Mapping[str, str]
"""What people are called, by id."""
_NODE: Final = "node"


def people_of(shown: Iterable[Shown]) -> set[str]:
    """The ids of those who made flows or moved their aliases."""
    found = set[str]()
    for each in shown:
        found |= {each.flow.created_by, *(alias.changed_by for alias in each.aliases)}
    return found


def flow_summary(shown: Shown, names: Names) -> FlowSummary:
    """A flow in a list."""
    return FlowSummary(**_flow(shown, names))


def flow_view(shown: Shown, draft: DraftRow, names: Names) -> FlowView:
    """A flow."""
    return FlowView(
        **_flow(shown, names),
        draft_revision=draft.revision,
        draft_version=draft.version,
        draft_base=draft.base,
        draft_changed=draft.version != draft.base,
        draft_updated_by=_who(draft.updated_by, names),
        draft_updated_at=utc(draft.updated_at),
    )


def draft_view(draft: Draft, names: Names) -> FlowDraftView:
    """A draft."""
    row = draft.row
    return FlowDraftView(
        flow=draft.flow.id,
        slug=draft.flow.slug,
        revision=row.revision,
        base=row.base,
        version=row.version,
        document=written(draft.document),
        problems=problem_views(draft.problems),
        can_run=not errors_in(draft.problems),
        updated_by=_who(row.updated_by, names),
        updated_at=utc(row.updated_at),
    )


def version_summary(info: VersionInfo, aliases: Iterable[Alias], names: Names) -> FlowVersionSummary:
    """A version in a list."""
    return FlowVersionSummary(**_version(info, aliases, names))


def version_view(info: VersionInfo, document: Document, aliases: Iterable[Alias], names: Names) -> FlowVersionView:
    """A version."""
    return FlowVersionView(**_version(info, aliases, names), document=written(document))


def commit_view(done: Committed, aliases: Iterable[Alias], names: Names) -> FlowCommitView:
    """What a commit came to."""
    problems = problem_views(done.problems)
    return FlowCommitView(**_version(done.info, aliases, names), created=done.created, problems=problems)


def alias_view(alias: Alias, names: Names) -> FlowAliasView:
    """An alias."""
    return FlowAliasView(
        alias=alias.alias,
        version=alias.version,
        changed_by=_who(alias.changed_by, names),
        changed_at=utc(alias.changed_at),
    )


def change_view(change: AliasChange, names: Names) -> FlowAliasChange:
    """One change of an alias."""
    return FlowAliasChange(
        id=change.id,
        alias=change.alias,
        version=change.version,
        previous=change.previous,
        action=change.action,
        note=change.note,
        changed_by=_who(change.changed_by, names),
        changed_at=utc(change.changed_at),
    )


def diff_view(compared: Compared) -> FlowDiffView:
    """What changed."""
    return FlowDiffView(
        **to_builtins(compared.differences),
        before=compared.before,
        after=compared.after,
        same_version=compared.differences.same_version,
    )


def merge_view(done: MergedDraft) -> FlowMergeView:
    """What a merge came to."""
    document = done.merged.document
    return FlowMergeView(
        document=None if document is None else written(document),
        conflicts=[FlowConflictView(**to_builtins(each)) for each in done.merged.conflicts],
        problems=problem_views(done.problems),
    )


def check_view(checked: Checked, types: NodeTypes) -> FlowCheckView:
    """Whether a flow can run."""
    return FlowCheckView(
        version=version_id(checked.document),
        can_run=checked.can_run,
        problems=problem_views(checked.problems),
        requires=_requires(requirements(checked.document, types)),
        ports={name: ports_view(ports) for name, ports in checked.ports.items()},
    )


def import_view(inspection: Inspection, flow: FlowView | None) -> FlowImportView:
    """What a file holds."""
    document = inspection.document
    return FlowImportView(
        flow=flow,
        title=document.name,
        description=document.description or "",
        version=version_id(document),
        licence=_licence(document.licence),
        requires=_requires(inspection.needs),
        declared=_requires(document.requires),
        node_types=inspection.node_types,
        unknown_types=list(inspection.unknown_types),
        migrations=[FlowMigrationView(**asdict(each)) for each in inspection.migrations],
        can_run=inspection.checked.can_run,
        problems=problem_views(inspection.problems),
    )


def node_types_view(types: NodeTypes) -> NodeTypePage:
    """Everything that flows are made of."""
    return NodeTypePage(
        data=[_node_type(each, types) for each in types.all()],
        port_types=[
            PortTypeView(
                kind=name, title=kind.title, description=kind.description, above=list(kind.above), json_value=kind.json
            )
            for name, kind in KINDS.items()
        ],
        coercions=[
            CoercionView(name=each.name, title=each.title, sources=each.sources, targets=each.targets)
            for each in COERCIONS.values()
        ],
    )


def node_ports(node: Node, interface: Interface, types: NodeTypes) -> NodePortsView:
    """The ports of a node by itself."""
    checks = NodeChecks(Document(name=_NODE, interface=interface, nodes={_NODE: node}), types)
    ports = checks.ports.get(_NODE)
    return NodePortsView(ports=None if ports is None else ports_view(ports), problems=problem_views(checks.problems))


def ports_view(ports: Ports) -> PortSetView:
    """Inputs and outputs."""
    return PortSetView(inputs=_ports(ports.inputs), outputs=_ports(ports.outputs))


def problem_views(problems: Iterable[Problem]) -> list[FlowProblemView]:
    """What is wrong."""
    return [
        FlowProblemView(
            code=each.code,
            message=each.message,
            hint=each.hint,
            node=each.node,
            port=each.port,
            param=each.param,
            severity=each.severity,
            dependents=list(each.dependents),
        )
        for each in problems
    ]


def _flow(shown: Shown, names: Names) -> dict[str, Any]:
    flow = shown.flow
    return {
        "id": flow.id,
        "slug": flow.slug,
        "title": flow.title,
        "description": flow.description,
        "head": flow.head,
        "versions": flow.last_number,
        "aliases": [alias_view(each, names) for each in shown.aliases],
        "created_by": _who(flow.created_by, names),
        "created_at": utc(flow.created_at),
        "updated_at": utc(flow.updated_at),
        "archived_at": None if flow.archived_at is None else utc(flow.archived_at),
    }


def _version(info: VersionInfo, aliases: Iterable[Alias], names: Names) -> dict[str, Any]:
    return {
        "version": info.version,
        "number": info.number,
        "parent": info.parent,
        "title": info.title,
        "message": info.message,
        "nodes": info.nodes,
        "bytes": info.size,
        "aliases": [each.alias for each in aliases if each.version == info.version],
        "created_by": _who(info.created_by, names),
        "created_at": utc(info.created_at),
    }


def _who(id_: str, names: Names) -> FlowActor:
    return FlowActor(id=id_, name=names.get(id_))


def _requires(requires: Requires) -> FlowRequiresView:
    return FlowRequiresView(**{name: list(listed) for name, listed in asdict(requires).items()})


def _licence(licence: Licence | None) -> FlowLicenceView | None:
    return None if licence is None else FlowLicenceView(spdx=licence.spdx, terms=licence.terms)


def _ports(ports: Mapping[str, Port]) -> dict[str, NodePortView]:
    return {
        name: NodePortView(type=str(each.type), title=each.title, required=each.required, follows=each.follows)
        for name, each in ports.items()
    }


def _node_type(kind: NodeType, types: NodeTypes) -> NodeTypeView:
    plain = _plain_ports(kind, types)
    newest = types.newest(kind.type)
    return NodeTypeView(
        type=kind.type,
        v=kind.v,
        newest=newest is not None and newest.v == kind.v,
        title=kind.title,
        description=kind.description,
        category=kind.category,
        params=dict(kind.params),
        ports=None if plain is None else ports_view(plain),
        capabilities=list(kind.capabilities),
        deterministic=kind.deterministic,
        effect=kind.effect,
        exclusive=kind.exclusive,
        top_level=kind.top_level,
        join=kind.join,
        timeout_s=kind.timeout_s,
        group=kind.group,
        unavailable=kind.unavailable,
    )


def _plain_ports(kind: NodeType, types: NodeTypes) -> Ports | None:
    """The ports of a node without parameters, where it can be without any."""
    if types.rule(kind).faults({}):
        return None
    try:
        return kind.ports({}, Interface())
    except ValueError:
        return None
