"""Flows on behalf of callers: made, found, named, put away, and resolved to what runs."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec.structs import asdict, replace

from polyforge.database.counting import take_number
from polyforge.database.sessions import WriteSession
from polyforge.database.texts import storable
from polyforge.flows.document import Document
from polyforge.flows.keeping.changing import (
    COUNTER,
    Change,
    Needed,
    Tools,
    changing,
    found,
    looking,
    refuse_archived,
    scope_of,
    tell,
)
from polyforge.flows.keeping.choosing import choose
from polyforge.flows.keeping.contents import Packed
from polyforge.flows.keeping.records import (
    MAX_FLOWS,
    PREFIX,
    Draft,
    DraftRow,
    Flow,
    FlowVersion,
    Shown,
    check_slug,
    new_flow_id,
    slug_of,
    split_reference,
)
from polyforge.flows.keeping.store import FlowEditor, FlowStore
from polyforge.flows.keeping.tables import flow_drafts, flows
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.history.records import Place, read_place
from polyforge.tenancy.people.store import SystemUserStore
from polyforge.tenancy.store import KeyStore

_UNTITLED: Final = "Untitled flow"
_MOST_NAMES: Final = 10_000


class FlowService:
    """What a project keeps of flows; NotFound for what it does not have."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._needed = list[Needed]()

    def needed_by(self, other: Needed) -> None:
        """Ask a room above before a flow, or a version of one, is taken away."""
        self._needed.append(other)

    async def resolve(self, caller: Caller, reference: str) -> FlowVersion:
        """The version that `FLOW`, `FLOW@ALIAS`, `FLOW@NUMBER` or `FLOW@VERSION-ID` means now.

        FLOW is an id or a short name; without a version it is what `prod` points at, else the latest. NotFound for what
        there is not, Conflict for a flow that is put away or has no version yet.
        """
        name, wanted = split_reference(reference)
        async with looking(self._tools, caller, name) as at:
            refuse_archived(at.flow)
            info, alias = await choose(at, wanted)
            document = self._tools.desk.recall(info.flow_id, info.version)
            content = await at.store.content(info.flow_id, info.version) if document is None else None
        if document is None:
            assert content is not None, "a version is not removed while it is looked at"
            document = await self._tools.desk.version(info.flow_id, info.version, content, info.size)
        return FlowVersion(
            flow_id=at.flow.id,
            flow_name=at.flow.slug,
            version=info.version,
            number=info.number,
            title=info.title,
            document=document,
            alias=alias,
        )

    async def create(
        self, caller: Caller, *, document: Document | None = None, slug: str | None = None, title: str | None = None
    ) -> Draft:
        """Make a flow with a draft: of a document, or an empty one.

        Without a short name it gets one after its title. Conflict when the short name is taken, or there are too many.
        """
        wanted = None if slug is None else check_slug(slug)
        document = document or Document(name=title or wanted or _UNTITLED)
        packed = await self._tools.desk.pack(replace(document, name=title or document.name))
        scope, now = scope_of(caller), self._tools.clock.now()
        async with self._tools.database.write(scope) as session:
            editor = FlowEditor(session, scope)
            await take_number(session, COUNTER)
            if await editor.count() >= MAX_FLOWS:
                raise Conflict(f"this project has {MAX_FLOWS} flows, which is the most; remove some for ever")
            flow = _new(caller, await _free(editor, wanted, packed.document.name), packed, now)
            row = _draft_of(flow, packed, caller, now)
            await editor.add(flows, asdict(flow))
            await editor.add(flow_drafts, asdict(row))
            change = Change(session, editor, flow, now)
            await tell(self._tools, caller, change, "flow.created", None, {"title": flow.title, "draft": row.version})
        return Draft(flow, row, packed.document, packed.problems)

    async def page(
        self, caller: Caller, limit: int, cursor: str | None, *, search: str = "", archived: bool = False
    ) -> tuple[list[Shown], str | None]:
        """Up to `limit` flows, the latest changed first, and the cursor of the next page."""
        scope, after = scope_of(caller), read_place(cursor)
        async with self._tools.database.read(scope) as session:
            store = FlowStore(session, scope)
            rows = await store.page(limit + 1, after, storable(search), archived=archived)
            aliases = await store.aliases(*(flow.id for flow in rows[:limit]))
        shown = [Shown(flow, [each for each in aliases if each.flow_id == flow.id]) for flow in rows[:limit]]
        last = rows[limit - 1] if len(rows) > limit else None
        return shown, None if last is None else str(Place(last.updated_at, last.id.removeprefix(PREFIX)))

    async def get(self, caller: Caller, name: str) -> tuple[Shown, DraftRow]:
        """One flow with what points at its versions, and its draft as it is kept."""
        async with looking(self._tools, caller, name) as at:
            row = await at.store.draft(at.flow.id)
            assert row is not None, "each flow has a draft"
            return Shown(at.flow, await at.store.aliases(at.flow.id)), row

    async def rename(self, caller: Caller, name: str, slug: str) -> None:
        """Give a flow another short name; references that use the old one no longer find it."""
        wanted = check_slug(slug)
        scope = scope_of(caller)
        async with self._tools.database.write(scope) as session:
            change = await self._taken(session, caller, name)
            refuse_archived(change.flow)
            if change.flow.slug == wanted:
                return
            await _refuse_taken(change.editor, wanted)
            await change.editor.change(flows, flows.c.id == change.flow.id, {"slug": wanted})
            await tell(self._tools, caller, change, "flow.renamed", {"slug": change.flow.slug}, {"slug": wanted})

    async def archive(self, caller: Caller, name: str) -> None:
        """Put a flow away: it does not run any more, and can be restored. Conflict while others need it."""
        flow = (await self.get(caller, name))[0].flow
        if flow.archived_at is not None:
            return
        await self.refuse_needed(caller, flow.id, None)
        async with changing(self._tools, caller, name) as change:
            await change.editor.change(flows, flows.c.id == change.flow.id, {"archived_at": change.now})
            await tell(self._tools, caller, change, "flow.archived", {"title": change.flow.title}, None)

    async def restore(self, caller: Caller, name: str) -> None:
        """Have a flow that was put away again, under another short name where its own is taken by now."""
        scope = scope_of(caller)
        async with self._tools.database.write(scope) as session:
            change = await self._taken(session, caller, name)
            flow = change.flow
            if flow.archived_at is None:
                return
            used = await change.editor.slugs_like(flow.slug)
            slug = await _free(change.editor, None, flow.slug) if flow.slug in used else flow.slug
            await change.editor.change(flows, flows.c.id == flow.id, {"archived_at": None, "slug": slug})
            await tell(self._tools, caller, change, "flow.restored", None, {"slug": slug})

    async def remove(self, caller: Caller, name: str) -> None:
        """Remove a flow that is put away, with its versions and its history, for ever."""
        async with looking(self._tools, caller, name) as at:
            flow = at.flow
        await self._refuse_any_needed(caller, flow.id)
        scope = scope_of(caller)
        async with self._tools.database.write(scope) as session:
            change = await self._taken(session, caller, flow.id)
            if change.flow.archived_at is None:
                raise Conflict(f"put the flow {flow.slug!r} away first: DELETE /api/v1/flows/{flow.id}")
            # Somebody may have begun to need it since.
            await self._refuse_any_needed(caller, flow.id)
            await change.editor.forget(flow.id)
            await tell(self._tools, caller, change, "flow.removed", {"title": flow.title, "head": flow.head}, None)

    async def refuse_needed(self, caller: Caller, flow_id: str, version: str | None) -> None:
        """Conflict while somebody needs a flow, or a version of it."""
        for other in self._needed:
            if (why := await other.why(caller, flow_id, version)) is not None:
                raise Conflict(why)

    async def _refuse_any_needed(self, caller: Caller, flow_id: str) -> None:
        for other in self._needed:
            if (why := await other.why_any(caller, flow_id)) is not None:
                raise Conflict(why)

    async def names(self, caller: Caller, ids: Collection[str]) -> Mapping[str, str]:
        """What people and the project's keys are called who did something, by id."""
        scope, wanted = scope_of(caller), sorted(set(ids))[:_MOST_NAMES]
        async with self._tools.database.read(scope) as session:
            keys = await KeyStore(session, scope).names(wanted) if wanted else {}
        async with self._tools.database.read() as session:
            people = await SystemUserStore(session).called(wanted)
        return {**keys, **{user_id: name for user_id, (_, name) in people.items()}}

    async def _taken(self, session: WriteSession, caller: Caller, name: str) -> Change:
        """A flow to be changed in a way that may change short names, put away or not."""
        now = self._tools.clock.now()
        editor = FlowEditor(session, scope_of(caller))
        await take_number(session, COUNTER)
        known = found(await editor.find(name), name)
        return Change(session, editor, found(await editor.lock(known.id), name), now)


def about(document: Document) -> dict[str, Any]:
    """What a flow's row says of its draft."""
    return {"title": document.name, "description": document.description or ""}


def _new(caller: Caller, slug: str, packed: Packed, now: float) -> Flow:
    return Flow(
        id=new_flow_id(),
        organization_id=caller.organization_id,
        project_id=caller.project_id,
        slug=slug,
        **about(packed.document),
        head=None,
        last_number=0,
        created_by=caller.key_id,
        created_at=now,
        updated_at=now,
        archived_at=None,
    )


def _draft_of(flow: Flow, packed: Packed, caller: Caller, now: float) -> DraftRow:
    return DraftRow(
        flow_id=flow.id,
        revision=1,
        base=None,
        version=packed.version,
        content=packed.content,
        size=packed.size,
        updated_by=caller.key_id,
        updated_at=now,
    )


async def _free(editor: FlowEditor, wanted: str | None, title: str) -> str:
    """The short name that somebody chose, if it is free, or one after a title that is."""
    if wanted is not None:
        await _refuse_taken(editor, wanted)
        return wanted
    slug = slug_of(title)
    used = await editor.slugs_like(slug)
    numbered = (f"{slug}-{number}" for number in range(2, MAX_FLOWS + 2))
    return slug if slug not in used else next(each for each in numbered if each not in used)


async def _refuse_taken(editor: FlowEditor, slug: str) -> None:
    if await editor.find(slug) is not None:
        raise Conflict(f"slug: a flow is called {slug!r} already; choose another short name", param="slug")
