"""Routes of flows: made, drafted, committed, pointed at, compared, brought in and taken out."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.requests import ClientDisconnect

from polyforge.flows.bounds import MAX_BYTES
from polyforge.flows.keeping.drafts import Drafts
from polyforge.flows.keeping.importing import Importing
from polyforge.flows.keeping.pointing import Aliases
from polyforge.flows.keeping.records import Draft
from polyforge.flows.keeping.schemas import (
    LAST_NUMBER,
    MAX_PAGE,
    FlowAliasChangePage,
    FlowAliasView,
    FlowChange,
    FlowCheckView,
    FlowCommitView,
    FlowDiffView,
    FlowDraftView,
    FlowImportView,
    FlowMergeBody,
    FlowMergeView,
    FlowPage,
    FlowRollback,
    FlowVersionPage,
    FlowVersionView,
    FlowView,
    NewFlow,
    NewFlowAlias,
    NewFlowCommit,
)
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.keeping.versions import Versions
from polyforge.flows.keeping.views import (
    alias_view,
    change_view,
    check_view,
    commit_view,
    diff_view,
    draft_view,
    flow_summary,
    flow_view,
    import_view,
    merge_view,
    people_of,
    version_summary,
    version_view,
)
from polyforge.kernel.errors import Cancelled, Invalid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("flows:read"))]
Editor = Annotated[Caller, Depends(Permission("flows:write"))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=60)]
FlowName = Annotated[str, Path(max_length=64, description="Its id or its short name.")]
VersionName = Annotated[
    str, Path(max_length=64, description="A version's id or the beginning of it, its number, an alias, or `latest`.")
]
AliasName = Annotated[str, Path(max_length=64)]
Note = Annotated[str, Query(max_length=2_000, pattern=r"^[^\x00]*$", description="Why; it stays in the history.")]
IfMatch = Annotated[
    str | None, Header(max_length=40, description="The revision that you have seen; 412 when there is a later one.")
]
_REVISION: Final = re.compile(r'(?:W/)?"([1-9]\d{0,9})"')
_ANY: Final = "*"
_FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"A flow as JSON, of at most {MAX_BYTES} bytes: see the reference of the format, flow.v1.",
        "content": {"application/json": {"schema": {"type": "object", "title": "Flow"}}},
    }
}
_EXPORTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The flow.", "content": {"application/json": {"schema": {"type": "object"}}}}
}


def router(flows: FlowService, drafts: Drafts, versions: Versions, aliases: Aliases, importing: Importing) -> APIRouter:
    """The routes under /api/v1/flows for what is kept of them."""
    routes = APIRouter(prefix="/api/v1/flows", tags=["flows"])
    # Before those of single flows, whose names would take their place.
    _add_files(routes, flows, importing)
    _add_flows(routes, flows, drafts)
    _add_drafts(routes, flows, drafts, aliases)
    _add_versions(routes, flows, versions, aliases)
    _add_aliases(routes, flows, aliases)
    return routes


def _add_files(routes: APIRouter, flows: FlowService, importing: Importing) -> None:
    @routes.post("/import", status_code=201, openapi_extra=_FILE, responses={200: {"model": FlowImportView}})
    async def import_flow(
        caller: Editor,
        request: Request,
        response: Response,
        dry_run: Annotated[bool, Query(description="Only tell what it holds and needs.")] = False,
        migrate: Annotated[bool, Query(description="Bring nodes to the newest versions of their types.")] = False,
        slug: Annotated[str | None, Query(max_length=64, description="Its short name; default: its title's.")] = None,
    ) -> FlowImportView:
        """Make a flow of a file, and tell what it needs; nothing of it is executed."""
        inspection = await importing.inspect(await _content(request), newest=migrate)
        if dry_run:
            response.status_code = 200
            return import_view(inspection, None)
        made = await importing.take(caller, inspection, slug)
        return import_view(inspection, await _flow_view(flows, caller, made.flow.id))

    @routes.post("/validate", openapi_extra=_FILE)
    async def validate_flow(caller: Reader, request: Request) -> FlowCheckView:
        """Tell whether a flow can run, what it needs, and which ports its nodes have; nothing is kept."""
        del caller
        inspection = await importing.inspect(await _content(request))
        return check_view(inspection.checked, importing.types)


def _add_flows(routes: APIRouter, flows: FlowService, drafts: Drafts) -> None:
    @routes.get("")
    async def list_flows(
        caller: Reader,
        search: Annotated[str, Query(max_length=200, description="Within its title or its short name.")] = "",
        archived: Annotated[bool, Query(description="Those that were put away.")] = False,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> FlowPage:
        """The project's flows, the latest changed first."""
        found, following = await flows.page(caller, limit, cursor, search=search, archived=archived)
        names = await flows.names(caller, people_of(found))
        return FlowPage(data=[flow_summary(each, names) for each in found], next_cursor=following)

    @routes.post("", status_code=201)
    async def create_flow(caller: Editor, body: NewFlow) -> FlowView:
        """Make a flow with a draft: of a document, which may be wrong as long as it can be read, or an empty one."""
        document = None if body.document is None else await drafts.load(body.document)
        made = await flows.create(caller, document=document, slug=body.slug, title=body.title)
        return await _flow_view(flows, caller, made.flow.id)

    @routes.get("/{flow}")
    async def get_flow(caller: Reader, flow: FlowName) -> FlowView:
        """One flow with what points at its versions, and how its draft stands."""
        return await _flow_view(flows, caller, flow)

    @routes.patch("/{flow}")
    async def change_flow(caller: Editor, flow: FlowName, body: FlowChange) -> FlowView:
        """Give a flow another short name, or another title or description, which are in its draft."""
        id_ = (await flows.get(caller, flow))[0].flow.id
        given = body.model_dump(exclude_unset=True)
        if "slug" in given:
            await flows.rename(caller, id_, given["slug"])
        if given.keys() & {"title", "description"}:
            await drafts.describe(caller, id_, given.get("title"), given.get("description"))
        return await _flow_view(flows, caller, id_)

    @routes.delete("/{flow}", status_code=204)
    async def remove_flow(
        caller: Editor,
        flow: FlowName,
        forever: Annotated[bool, Query(description="Remove one that is put away, with all its versions.")] = False,
    ) -> Response:
        """Put a flow away, so that it does not run any more; 409 while something needs it."""
        await (flows.remove(caller, flow) if forever else flows.archive(caller, flow))
        return Response(status_code=204)

    @routes.post("/{flow}/restore")
    async def restore_flow(caller: Editor, flow: FlowName) -> FlowView:
        """Have a flow that was put away again; it is named by its id."""
        await flows.restore(caller, flow)
        return await _flow_view(flows, caller, flow)


def _add_drafts(routes: APIRouter, flows: FlowService, drafts: Drafts, aliases: Aliases) -> None:
    async def shown(caller: Caller, draft: Draft, response: Response) -> FlowDraftView:
        response.headers["etag"] = f'"{draft.row.revision}"'
        return draft_view(draft, await flows.names(caller, [draft.row.updated_by]))

    @routes.get("/{flow}/draft")
    async def get_flow_draft(caller: Reader, flow: FlowName, response: Response) -> FlowDraftView:
        """The draft of a flow, with what is wrong with it."""
        return await shown(caller, await drafts.get(caller, flow), response)

    @routes.put("/{flow}/draft", openapi_extra=_FILE)
    async def save_flow_draft(
        caller: Editor, flow: FlowName, request: Request, response: Response, if_match: IfMatch = None
    ) -> FlowDraftView:
        """Replace the draft; it may be wrong, as long as it can be read.

        412 when it was changed since the revision in `If-Match`: `current` says by whom, and how it differs from what
        was sent. Without that header whatever is there is replaced.
        """
        await flows.get(caller, flow)
        revision = _revision(if_match)
        document = await drafts.read(await _content(request))
        return await shown(caller, await drafts.save(caller, flow, document, revision), response)

    @routes.post("/{flow}/commit", status_code=201, responses={200: {"model": FlowCommitView}})
    async def commit_flow(caller: Editor, flow: FlowName, body: NewFlowCommit, response: Response) -> FlowCommitView:
        """Make a version of the draft; 200 when it is that version already, 400 with what is wrong with it."""
        done = await drafts.commit(caller, flow, body.message, body.revision)
        if not done.created:
            response.status_code = 200
        return commit_view(done, await aliases.all(caller, flow), await flows.names(caller, [done.info.created_by]))


def _add_versions(routes: APIRouter, flows: FlowService, versions: Versions, aliases: Aliases) -> None:
    @routes.get("/{flow}/versions")
    async def list_flow_versions(
        caller: Reader,
        flow: FlowName,
        limit: Limit = 100,
        cursor: Annotated[int | None, Query(ge=1, le=LAST_NUMBER)] = None,
    ) -> FlowVersionPage:
        """The versions of a flow, newest first."""
        found, following = await versions.page(caller, flow, limit, cursor)
        names = await flows.names(caller, [each.created_by for each in found])
        pointing = await aliases.all(caller, flow)
        data = [version_summary(each, pointing, names) for each in found]
        return FlowVersionPage(data=data, next_cursor=None if following is None else str(following))

    @routes.get("/{flow}/versions/{version}")
    async def get_flow_version(caller: Reader, flow: FlowName, version: VersionName) -> FlowVersionView:
        """One version with what it holds."""
        info, document = await versions.get(caller, flow, version)
        return version_view(
            info, document, await aliases.all(caller, flow), await flows.names(caller, [info.created_by])
        )

    @routes.delete("/{flow}/versions/{version}", status_code=204)
    async def remove_flow_version(caller: Editor, flow: FlowName, version: VersionName) -> Response:
        """Take a version away; 409 for the latest, and while an alias points at it or something needs it."""
        await versions.remove(caller, flow, version)
        return Response(status_code=204)

    @routes.get("/{flow}/diff", response_model_exclude_unset=True)
    async def compare_flow_versions(
        caller: Reader,
        flow: FlowName,
        from_: Annotated[str, Query(alias="from", max_length=64, description="`draft`, or a version.")] = "latest",
        to: Annotated[str, Query(max_length=64)] = "draft",
    ) -> FlowDiffView:
        """What changed between two of a flow's versions, or its draft, in the terms of flows."""
        return diff_view(await versions.compare(caller, flow, from_, to))

    @routes.post("/{flow}/merge", response_model_exclude_unset=True)
    async def merge_flow(caller: Reader, flow: FlowName, body: FlowMergeBody) -> FlowMergeView:
        """Make one of two changed copies of a flow, three ways; conflicts are listed, and nothing is saved."""
        return merge_view(await versions.merge(caller, flow, body.base, body.ours, body.theirs))

    @routes.get("/{flow}/export", response_class=Response, responses=_EXPORTED)
    async def export_flow(
        caller: Reader,
        flow: FlowName,
        version: Annotated[
            str | None, Query(max_length=64, description="Default: what would run, else the draft.")
        ] = None,
    ) -> Response:
        """The flow as a file with its layout: canonical JSON, which can be brought in elsewhere."""
        slug, content = await versions.export(caller, flow, version)
        named = {"content-disposition": f'attachment; filename="{slug}.flow.json"'}
        return Response(content, media_type="application/json", headers=named)


def _add_aliases(routes: APIRouter, flows: FlowService, aliases: Aliases) -> None:
    @routes.put("/{flow}/aliases/{alias}")
    async def point_flow_alias(caller: Editor, flow: FlowName, alias: AliasName, body: NewFlowAlias) -> FlowAliasView:
        """Point an alias at a version; `prod` is what is meant where a flow is named alone."""
        pointed = await aliases.point(caller, flow, alias, body.version, body.note)
        return alias_view(pointed, await flows.names(caller, [pointed.changed_by]))

    @routes.delete("/{flow}/aliases/{alias}", status_code=204)
    async def remove_flow_alias(caller: Editor, flow: FlowName, alias: AliasName, note: Note = "") -> Response:
        """Let an alias point nowhere."""
        await aliases.remove(caller, flow, alias, note)
        return Response(status_code=204)

    @routes.post("/{flow}/aliases/{alias}/rollback")
    async def roll_back_flow_alias(
        caller: Editor, flow: FlowName, alias: AliasName, body: FlowRollback
    ) -> FlowAliasView:
        """Point an alias at the version that it pointed at before."""
        pointed = await aliases.roll_back(caller, flow, alias, body.note)
        return alias_view(pointed, await flows.names(caller, [pointed.changed_by]))

    @routes.get("/{flow}/alias-changes")
    async def list_flow_alias_changes(
        caller: Reader,
        flow: FlowName,
        alias: Annotated[str | None, Query(max_length=64, description="Only of this one.")] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> FlowAliasChangePage:
        """Where the aliases of a flow pointed, by whom and why, newest first."""
        found, following = await aliases.history(caller, flow, limit, cursor, alias)
        names = await flows.names(caller, [each.changed_by for each in found])
        return FlowAliasChangePage(data=[change_view(each, names) for each in found], next_cursor=following)


async def _flow_view(flows: FlowService, caller: Caller, name: str) -> FlowView:
    shown, draft = await flows.get(caller, name)
    return flow_view(shown, draft, await flows.names(caller, {*people_of([shown]), draft.updated_by}))


async def _content(request: Request) -> bytes:
    """The file that is sent; Cancelled when whoever sends it gives up."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise Cancelled("the connection was closed before all of the flow had come") from error


def _revision(if_match: str | None) -> int | None:
    """The revision in a header; None: any."""
    if if_match is None or if_match.strip() == _ANY:
        return None
    match = _REVISION.fullmatch(if_match.strip())
    if match is None:
        raise Invalid('If-Match: write the revision as the ETag has it, as in `"3"`', param="if-match")
    return int(match[1])
