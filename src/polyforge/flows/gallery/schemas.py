"""What the management API of templates takes and gives."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.flows.document import written
from polyforge.flows.gallery.reading import needs_of
from polyforge.flows.gallery.records import Needs, Template
from polyforge.flows.gallery.service import Made
from polyforge.flows.keeping.schemas import FlowProblemView
from polyforge.flows.keeping.views import problem_views
from polyforge.flows.problems import errors_in
from polyforge.tenancy.schemas import Name

ChosenName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s@{}\x00-\x1f]+$")]
Names = Annotated[dict[Annotated[str, StringConstraints(max_length=200)], ChosenName], Field(max_length=50)]
_INSTEAD = "By the name that the template uses, the one to use here; what is left out stays as it is."


class NeedsView(BaseModel):
    """What a template names and this installation has to have."""

    models: list[str] = Field(description="Names of models; choose one of yours for each when you create the flow.")
    guardrails: list[str]
    secrets: list[str]
    capabilities: list[str] = Field(description="What its nodes do besides: `notify`, `net:HOST`, `people`, ...")


class TemplateSummary(BaseModel):
    """One template of the list."""

    name: str
    title: str
    description: str
    licence: str = Field(description="An SPDX expression.")
    needs: NeedsView
    nodes: int


class TemplateView(TemplateSummary):
    """One template."""

    readme: str = Field(description="Markdown.")
    sample: dict[str, Any] = Field(description="Inputs to try it with.")
    flow: dict[str, Any] = Field(description="The flow itself, in the format `flow.v1`.")


class TemplateList(BaseModel):
    """The templates that come with this version, by name."""

    data: list[TemplateSummary]
    next_cursor: str | None = Field(default=None, description="Always null: all templates are on one page.")


class UseTemplate(BaseModel):
    """A flow to be made of a template."""

    model_config = ConfigDict(extra="forbid")

    title: Name | None = Field(
        default=None, description="What the flow is called; the template's title where left out."
    )
    slug: str | None = Field(
        default=None, max_length=63, description="Its short name in paths and commands; one after the title otherwise."
    )
    models: Names = Field(default_factory=dict, description=f"Models. {_INSTEAD}")
    guardrails: Names = Field(default_factory=dict, description=f"Guardrails. {_INSTEAD}")
    secrets: Names = Field(default_factory=dict, description=f"Secrets. {_INSTEAD}")


class MadeFlow(BaseModel):
    """The flow that was made."""

    flow_id: str
    slug: str = Field(description="Its short name.")
    title: str
    version: str | None = Field(description="Its first version; null where problems keep it from running.")
    problems: list[FlowProblemView] = Field(description="What keeps it from running here.")
    needs: NeedsView = Field(description="What it names now.")


def summary_of(template: Template) -> TemplateSummary:
    """A template as lists show it."""
    return TemplateSummary(**_fields(template))


def view_of(template: Template) -> TemplateView:
    """A template with everything."""
    flow = written(template.document)
    return TemplateView(**_fields(template), readme=template.readme, sample=template.sample, flow=flow)


def made_view(made: Made) -> MadeFlow:
    """A flow that was made."""
    draft = made.draft
    return MadeFlow(
        flow_id=draft.flow.id,
        slug=draft.flow.slug,
        title=draft.document.name,
        version=None if made.committed is None else made.committed.info.version,
        problems=problem_views(errors_in(draft.problems)),
        needs=_needs(needs_of(draft.document)),
    )


def _needs(needs: Needs) -> NeedsView:
    return NeedsView(
        models=list(needs.models),
        guardrails=list(needs.guardrails),
        secrets=list(needs.secrets),
        capabilities=list(needs.capabilities),
    )


def _fields(template: Template) -> dict[str, Any]:
    document = template.document
    return {
        "name": template.name,
        "title": document.name,
        "description": document.description or "",
        "licence": template.licence,
        "needs": _needs(template.needs),
        "nodes": len(document.nodes),
    }
