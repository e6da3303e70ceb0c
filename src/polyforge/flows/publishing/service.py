"""What is published of flows, on behalf of callers: said, taken back, and found by those it is for."""

from typing import Any, Final

from polyforge.flows.keeping.changing import Tools, changing, looking, scope_of, tell
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.publishing.records import (
    MAX_PUBLICATIONS,
    Publication,
    Published,
    tool_name,
    tool_reference,
)
from polyforge.flows.publishing.store import PublicationEditor, PublicationStore
from polyforge.kernel.errors import Conflict, Invalid, NotFound
from polyforge.tenancy.callers import Caller

_CURSOR_PARTS: Final = 2


class PublishingService:
    """Publishes aliases: what they lead to changes with them, so a rollback reaches everybody at once."""

    def __init__(self, tools: Tools, flows: FlowService) -> None:
        self._tools = tools
        self._flows = flows

    async def of_flow(self, caller: Caller, flow: str) -> list[Publication]:
        """What is published of a flow."""
        async with looking(self._tools, caller, flow) as at:
            flow_id = at.flow.id
        scope = scope_of(caller)
        async with self._tools.database.read(scope) as session:
            return await PublicationStore(session, scope).of_flow(flow_id)

    async def publish(self, caller: Caller, flow: str, alias: str, *, tool: bool, page: bool) -> Published:
        """Publish an alias of a flow as a tool, as a page, or both; NotFound without the alias."""
        if not (tool or page):
            raise Invalid("publish it as a tool, as a page, or both; DELETE takes it back", param="tool")
        version = await self._aliased(caller, flow, alias)
        scope = scope_of(caller)
        async with changing(self._tools, caller, version.flow_id) as change:
            editor = PublicationEditor(change.session, scope)
            known = await editor.find(version.flow_id, alias)
            if known is None and await editor.count() >= MAX_PUBLICATIONS:
                raise Conflict(f"this project publishes {MAX_PUBLICATIONS} aliases, which is the most; take some back")
            made = Publication(
                flow_id=version.flow_id,
                alias=alias,
                tool=tool,
                page=page,
                changed_by=caller.key_id,
                changed_at=change.now,
            )
            await editor.put(made)
            await tell(self._tools, caller, change, "flow.published", known and _told(known), _told(made))
        return Published(made, version)

    async def withdraw(self, caller: Caller, flow: str, alias: str) -> None:
        """Publish an alias no more; NotFound where it is not published."""
        async with changing(self._tools, caller, flow) as change:
            editor = PublicationEditor(change.session, scope_of(caller))
            known = _there(await editor.find(change.flow.id, alias), f"{change.flow.slug}@{alias}")
            await editor.remove(change.flow.id, alias)
            await tell(self._tools, caller, change, "flow.withdrawn", _told(known), None)

    async def tools(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[Published], str | None]:
        """Up to `limit` flows that agents may call, and the cursor of the next page.

        An alias that points nowhere any more, or whose flow is put away, is left out.
        """
        scope = scope_of(caller)
        async with self._tools.database.read(scope) as session:
            found = await PublicationStore(session, scope).tools(limit + 1, _place(cursor))
        shown = [each for each in [await self._led(caller, each) for each in found[:limit]] if each is not None]
        last = found[limit - 1] if len(found) > limit else None
        return shown, None if last is None else f"{last.flow_id}@{last.alias}"

    async def tool(self, caller: Caller, name: str) -> FlowVersion:
        """The version that a tool runs now; NotFound where there is no such tool."""
        try:
            version = await self._published(caller, tool_reference(name), tool=True)
        except Conflict:
            version = None
        if version is None or tool_name(version.flow_name, version.alias or "") != name:
            raise NotFound(f"there is no tool {name[:200]!r}; tools/list names those there are")
        return version

    async def page(self, caller: Caller, reference: str) -> FlowVersion:
        """The version that a page runs now; NotFound where there is no such page."""
        version = await self._published(caller, reference, tool=False)
        if version is None:
            raise NotFound(f"{reference[:200]!r} has no page; publish it: polyforge flow publish FLOW ALIAS --page")
        return version

    async def _published(self, caller: Caller, reference: str, *, tool: bool) -> FlowVersion | None:
        try:
            version = await self._flows.resolve(caller, reference)
        except NotFound:
            return None
        scope = scope_of(caller)
        async with self._tools.database.read(scope) as session:
            found = await PublicationStore(session, scope).find(version.flow_id, version.alias or "")
        return version if found is not None and (found.tool if tool else found.page) else None

    async def _led(self, caller: Caller, publication: Publication) -> Published | None:
        try:
            return Published(publication, await self._aliased(caller, publication.flow_id, publication.alias))
        except (NotFound, Conflict):
            return None

    async def _aliased(self, caller: Caller, flow: str, alias: str) -> FlowVersion:
        version = await self._flows.resolve(caller, f"{flow}@{alias}")
        if version.alias != alias:
            raise Invalid(f"{alias[:64]!r} is no alias; a version is published through one that points at it")
        return version


def _told(publication: Publication) -> dict[str, Any]:
    return {"alias": publication.alias, "tool": publication.tool, "page": publication.page}


def _there(publication: Publication | None, what: str) -> Publication:
    if publication is None:
        raise NotFound(f"{what[:200]!r} is not published")
    return publication


def _place(cursor: str | None) -> tuple[str, str] | None:
    """Where the last page ended."""
    if cursor is None:
        return None
    parts = cursor.split("@")
    if len(parts) != _CURSOR_PARTS or not cursor.isascii() or "\0" in cursor:
        raise Invalid("the cursor is not one that a list gave", param="cursor")
    return parts[0], parts[1]
