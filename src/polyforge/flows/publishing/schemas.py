"""What the API of published flows takes and gives."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.flows.document import Json
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.publishing.json_schemas import must_be_given
from polyforge.flows.publishing.records import Publication, tool_name
from polyforge.flows.running.records import FlowRun
from polyforge.flows.running.schemas import FlowRunSummary, summary_of
from polyforge.kernel.clock import utc
from polyforge.kernel.errors import Invalid

USUAL_SECONDS: Final = 60.0
MOST_SECONDS: Final = 600.0
MOST_USD: Final = 1_000_000.0
_GRAPHS: Final = ("flow", "graph", "document", "definition", "nodes", "version")
_TALKED: Final = frozenset({"text", "messages"})


class RunBody(BaseModel):
    """Inputs for a stored version of a flow."""

    model_config = ConfigDict(extra="forbid")

    inputs: dict[str, Any] = Field(default_factory=dict, description="By name, as the flow declares them.")
    mode: Literal["sync", "async", "stream"] = Field(
        default="sync",
        description="`sync` waits for the end, `async` does not, `stream` sends what happens as server-sent events.",
    )
    timeout_seconds: float = Field(
        default=USUAL_SECONDS, ge=0, le=MOST_SECONDS, description="How long `sync` waits; the run goes on after it."
    )
    max_cost_usd: float | None = Field(
        default=None, gt=0, le=MOST_USD, description="No node begins once the run has cost this."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_graphs(cls, value: Any) -> Any:
        given = [name for name in _GRAPHS if isinstance(value, dict) and name in value]
        if given:
            raise Invalid(
                f"{given[0]}: only stored versions run, and the path names which; "
                "keep the flow first: POST /api/v1/flows/import, then commit it",
                param=given[0],
            )
        return value  # pyright: ignore[reportUnknownVariableType]


class PublishedRunView(FlowRunSummary):
    """A run, with what came of it. GET /api/v1/flow-runs/{id} tells more."""

    outputs: dict[str, Any] | None = Field(description="By name; those that were skipped are left out.")


class PublicationBody(BaseModel):
    """How an alias is published."""

    model_config = ConfigDict(extra="forbid")

    tool: bool = Field(default=False, description="Agents find it at /mcp.")
    page: bool = Field(default=False, description="People find it at /flows/{flow}@{alias}.")


class PublicationView(BaseModel):
    """An alias that is published."""

    flow_id: str
    alias: str
    tool: bool
    page: bool
    tool_name: str = Field(description="What agents call it.")
    changed_by: str
    changed_at: datetime


class PublicationPage(BaseModel):
    """What is published of a flow, by alias."""

    data: list[PublicationView]
    next_cursor: str | None = Field(description="Always null: a flow has few aliases.")


class PageFieldView(BaseModel):
    """An input or an output of a page."""

    name: str
    type: str
    title: str | None
    description: str | None
    required: bool
    default: Any = None


class FlowPageView(BaseModel):
    """What a page shows of a flow."""

    kind: Literal["form", "chat"]
    title: str
    description: str | None
    flow: str
    version: str
    inputs: list[PageFieldView]
    outputs: list[PageFieldView]


def run_view(run: FlowRun, outputs: Mapping[str, Json] | None) -> PublishedRunView:
    """A run as it is told."""
    return PublishedRunView(**dict(summary_of(run)), outputs=None if outputs is None else dict(outputs))


def publication_view(publication: Publication, slug: str) -> PublicationView:
    """A publication as it is told."""
    return PublicationView(
        flow_id=publication.flow_id,
        alias=publication.alias,
        tool=publication.tool,
        page=publication.page,
        tool_name=tool_name(slug, publication.alias),
        changed_by=publication.changed_by,
        changed_at=utc(publication.changed_at),
    )


def page_view(version: FlowVersion) -> FlowPageView:
    """What a page asks and shows; a talk, where one text or conversation goes in and one comes out."""
    interface = version.document.interface
    inputs = [
        PageFieldView(
            name=name,
            type=each.type,
            title=each.title,
            description=each.description,
            required=must_be_given(each),
            default=None if each.default is msgspec.UNSET else each.default,
        )
        for name, each in interface.inputs.items()
    ]
    outputs = [
        PageFieldView(name=name, type=each.type, title=each.title, description=each.description, required=False)
        for name, each in interface.outputs.items()
    ]
    talks = [len(side) == 1 and side[0].type in _TALKED for side in (inputs, outputs)]
    return FlowPageView(
        kind="chat" if all(talks) else "form",
        title=version.document.name,
        description=version.document.description,
        flow=version.flow_name,
        version=version.version,
        inputs=sorted(inputs, key=lambda each: not each.required),
        outputs=outputs,
    )
