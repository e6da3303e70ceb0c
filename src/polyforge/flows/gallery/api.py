"""Routes of templates."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from polyforge.flows.gallery.records import Chosen
from polyforge.flows.gallery.schemas import (
    MadeFlow,
    TemplateList,
    TemplateView,
    UseTemplate,
    made_view,
    summary_of,
    view_of,
)
from polyforge.flows.gallery.service import TemplateService
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("flows:read"))]
Editor = Annotated[Caller, Depends(Permission("flows:write"))]
TemplateName = Annotated[str, Path(max_length=64)]


def router(templates: TemplateService) -> APIRouter:
    """The routes under /api/v1/flow-templates."""
    routes = APIRouter(prefix="/api/v1/flow-templates", tags=["flows"])

    @routes.get("")
    async def list_flow_templates(caller: Reader) -> TemplateList:
        """Flows to begin with, and what each needs."""
        return TemplateList(data=[summary_of(each) for each in templates.all()])

    @routes.get("/{template}")
    async def get_flow_template(caller: Reader, template: TemplateName) -> TemplateView:
        """One template with its text, a sample of inputs, and the flow itself."""
        return view_of(templates.get(template))

    @routes.post("/{template}/create", status_code=201)
    async def use_flow_template(caller: Editor, template: TemplateName, body: UseTemplate) -> MadeFlow:
        """Make a flow of a template, with your models in the place of its own, and its first version."""
        chosen = Chosen(body.models, body.guardrails, body.secrets)
        return made_view(await templates.use(caller, template, chosen, body.slug, body.title))

    return routes
