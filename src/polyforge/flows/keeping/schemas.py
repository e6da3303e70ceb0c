"""What the routes of flows take and give."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from polyforge.flows.document import Join
from polyforge.flows.keeping.records import Action
from polyforge.flows.merging import Section
from polyforge.flows.nodetypes import Category, Effect
from polyforge.flows.problems import Code, Severity

MAX_PAGE: Final = 1_000
LAST_NUMBER: Final = 2**31 - 1
Json = Any
Text = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, StringConstraints(max_length=64)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
VersionText = Annotated[str, StringConstraints(min_length=1, max_length=64)]
DocumentBody = Annotated[dict[str, Any], Field(description="A flow: see the reference of the format, flow.v1.")]
Who = Annotated["FlowActor", Field(description="Who did it.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewFlow(_Body):
    """A flow to make: of a document, or an empty one."""

    slug: Slug | None = Field(default=None, description="Its short name in paths and references; default: its title's.")
    title: Title | None = Field(default=None, description="What people call it; default: the document's name.")
    document: DocumentBody | None = None


class FlowChange(_Body):
    """What to change of a flow: what is left out stays. Title and description are in its draft."""

    slug: Slug = Field(default="", description="Another short name; references with the old one find nothing then.")
    title: Title = Field(default_factory=str)
    description: Annotated[str, StringConstraints(max_length=4_000, pattern=r"^[^\x00]*$")] = ""

    @model_validator(mode="after")
    def _changes_something(self) -> "FlowChange":
        if not self.model_fields_set:
            raise ValueError("give a slug, a title or a description to change")
        return self


class NewFlowCommit(_Body):
    """A version to make of the draft."""

    message: Text = Field(default="", description="What changed, and why.")
    revision: int | None = Field(
        default=None, ge=1, le=LAST_NUMBER, description="The draft's that you have seen; 412 when there is a later one."
    )


class NewFlowAlias(_Body):
    """Where to point an alias."""

    version: VersionText = Field(description="A version's id, the beginning of it, its number, an alias, or `latest`.")
    note: Text = Field(default="", description="Why; it stays in the history.")


class FlowRollback(_Body):
    """Why an alias is pointed back."""

    note: Text = ""


class FlowMergeBody(_Body):
    """Three documents; each is one, or names one: `draft`, or what names a version."""

    base: VersionText | DocumentBody = Field(description="What both sides began with.")
    ours: VersionText | DocumentBody = Field(description="Where both changed the same thing, this stays.")
    theirs: VersionText | DocumentBody


class NodePortsBody(_Body):
    """A node whose ports are asked for."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    v: int = Field(default=1, ge=1, le=1_000_000)
    params: dict[str, Any] = Field(default_factory=dict)
    interface: dict[str, Any] = Field(default_factory=dict, description="The flow's, for its input and output nodes.")


class FlowActor(BaseModel):
    """Somebody who did something."""

    id: str
    name: str | None = Field(description="null: a service account, or somebody who is gone.")


class FlowProblemView(BaseModel):
    """One thing that is wrong with a flow: where, and what to do about it."""

    code: Code
    message: str
    hint: str
    node: str | None = Field(description="A node or a group; null: the flow as a whole.")
    port: str | None
    param: str | None = Field(description="A JSON pointer into the node, else into the flow.")
    severity: Severity
    dependents: list[str] = Field(description="What does not run because of it.")


class FlowAliasView(BaseModel):
    """A name that points at a version."""

    alias: str
    version: str
    changed_by: Who
    changed_at: datetime


class FlowSummary(BaseModel):
    """A flow."""

    id: str
    slug: str
    title: str
    description: str
    head: str | None = Field(description="The version that was committed last; null: none was yet.")
    versions: int = Field(description="How many were ever committed.")
    aliases: list[FlowAliasView]
    created_by: Who
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = Field(description="When it was put away; null: it was not.")


class FlowView(FlowSummary):
    """A flow with how its draft stands."""

    draft_revision: int
    draft_version: str = Field(description="The version that the draft would be.")
    draft_base: str | None = Field(description="The version that the draft goes on from.")
    draft_changed: bool = Field(description="Whether committing it would make another version than its base.")
    draft_updated_by: Who
    draft_updated_at: datetime


class FlowPage(BaseModel):
    """Some flows, the latest changed first."""

    data: list[FlowSummary]
    next_cursor: str | None


class FlowDraftView(BaseModel):
    """A draft with what is wrong with it. Its revision is its ETag."""

    flow: str
    slug: str
    revision: int
    base: str | None
    version: str = Field(description="The version that it would be.")
    document: DocumentBody
    problems: list[FlowProblemView]
    can_run: bool
    updated_by: Who
    updated_at: datetime


class FlowVersionSummary(BaseModel):
    """A version without what it holds."""

    version: str = Field(description="The SHA-256 of what counts in it.")
    number: int
    parent: str | None = Field(description="The latest version when it was committed.")
    title: str
    message: str
    nodes: int
    bytes: int
    aliases: list[str]
    created_by: Who
    created_at: datetime


class FlowVersionView(FlowVersionSummary):
    """A version."""

    document: DocumentBody


class FlowCommitView(FlowVersionSummary):
    """What a commit came to."""

    created: bool = Field(description="false: the draft was that version already.")
    problems: list[FlowProblemView] = Field(description="Warnings: with errors nothing is committed.")


class FlowVersionPage(BaseModel):
    """Some versions, newest first."""

    data: list[FlowVersionSummary]
    next_cursor: str | None


class FlowAliasChange(BaseModel):
    """One change of where an alias points."""

    id: str
    alias: str
    version: str | None = Field(description="null: it points nowhere any more.")
    previous: str | None
    action: Action
    note: str
    changed_by: Who
    changed_at: datetime


class FlowAliasChangePage(BaseModel):
    """Changes of aliases, newest first."""

    data: list[FlowAliasChange]
    next_cursor: str | None


class PatchOperation(BaseModel):
    """One step of a JSON patch."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Json = Field(default=None, description="Absent where something is removed.")


class WordChange(BaseModel):
    """A piece of a text that stayed, went or came."""

    what: Literal["same", "removed", "added"]
    text: str


class FlowLinkChange(BaseModel):
    """An input that comes from elsewhere now; null where it was not or is not there."""

    port: str
    before: Json
    after: Json


class FlowPartChange(BaseModel):
    """What changed in one node or loop."""

    id: str
    fields: list[PatchOperation]
    texts: dict[str, list[WordChange]] = Field(description="By JSON pointer, how texts of several words changed.")
    links: list[FlowLinkChange]


class FlowPartChanges(BaseModel):
    """What came, went and changed, by id."""

    added: list[str]
    removed: list[str]
    changed: list[FlowPartChange]


class DifferencesView(BaseModel):
    """Everything between two flows."""

    nodes: FlowPartChanges
    groups: FlowPartChanges
    interface: list[PatchOperation]
    control_added: list[Json]
    control_removed: list[Json]
    about: list[PatchOperation] = Field(description="The name, the description, the licence, what it requires.")
    layout: bool = Field(description="Whether the editor's own notes differ, which makes no other version.")


class FlowDiffView(DifferencesView):
    """What changed from one version, or draft, to another."""

    before: str | None = Field(description="The version's id; null: the draft.")
    after: str | None
    same_version: bool


class FlowConflictView(BaseModel):
    """What both sides changed in different ways; absent is what a side does not have."""

    kind: Literal["both_changed", "changed_and_removed", "link_to_removed"]
    section: Section
    id: str
    base: Json = None
    ours: Json = None
    theirs: Json = None
    removed: str | None = None


class FlowMergeView(BaseModel):
    """What a merge came to; nothing is saved."""

    document: DocumentBody | None = Field(description="null: what came of it would be no flow; see `problems`.")
    conflicts: list[FlowConflictView]
    problems: list[FlowProblemView]


class FlowRequiresView(BaseModel):
    """What a flow needs."""

    capabilities: list[str]
    secrets: list[str]
    references: list[str]
    nodes: list[str]


class FlowLicenceView(BaseModel):
    """What others may do with a flow."""

    spdx: str | None
    terms: str | None


class FlowMigrationView(BaseModel):
    """A node that was brought to a newer version of its type."""

    node: str
    type: str
    before: int
    after: int


class NodePortView(BaseModel):
    """An input or an output of a node."""

    type: str
    title: str
    required: bool
    follows: str | None = Field(description="The input whose type an output takes over.")


class PortSetView(BaseModel):
    """What a node takes and gives."""

    inputs: dict[str, NodePortView]
    outputs: dict[str, NodePortView]


class NodePortsView(BaseModel):
    """The ports that follow from parameters; null where those are wrong."""

    ports: PortSetView | None
    problems: list[FlowProblemView]


class FlowCheckView(BaseModel):
    """Whether a flow can run, and what it needs."""

    version: str = Field(description="The version that it would be.")
    can_run: bool
    problems: list[FlowProblemView]
    requires: FlowRequiresView = Field(description="What its nodes need.")
    ports: dict[str, PortSetView] = Field(description="Of the nodes whose parameters are right.")


class FlowImportView(BaseModel):
    """What a file holds and needs, and the flow that was made of it."""

    flow: FlowView | None = Field(description="null: nothing was made, since only a look was asked for.")
    title: str
    description: str
    version: str
    licence: FlowLicenceView | None
    requires: FlowRequiresView = Field(description="What its nodes need.")
    declared: FlowRequiresView = Field(description="What it says that it needs.")
    node_types: dict[str, int] = Field(description="How many nodes there are of each type.")
    unknown_types: list[str] = Field(description="Types of nodes that this installation does not know.")
    migrations: list[FlowMigrationView]
    can_run: bool
    problems: list[FlowProblemView]


class NodeTypeView(BaseModel):
    """A type of node in one version."""

    type: str
    v: int
    newest: bool
    title: str
    description: str
    category: Category
    params: dict[str, Any] = Field(description="The JSON schema of its parameters.")
    ports: PortSetView | None = Field(description="Those without parameters; null: it cannot be without any.")
    capabilities: list[str]
    deterministic: bool
    effect: Effect
    exclusive: bool = Field(description="Whether one of its outputs happens.")
    top_level: bool = Field(description="Whether it may not be in a loop.")
    join: Join
    timeout_s: int | None
    group: Literal["foreach", "while"] | None = Field(description="The kind of loop that it stands for.")
    unavailable: str | None = Field(description="Why it cannot run here; null: it can.")


class PortTypeView(BaseModel):
    """A kind of value that goes through links."""

    kind: str
    title: str
    description: str
    above: list[str] = Field(description="The kinds that take it as it is.")
    json_value: bool = Field(description="Whether its values are plain JSON.")


class CoercionView(BaseModel):
    """A conversion that a link may name."""

    name: str
    title: str
    sources: str
    targets: str


class NodeTypePage(BaseModel):
    """What flows are made of."""

    data: list[NodeTypeView]
    port_types: list[PortTypeView]
    coercions: list[CoercionView]
