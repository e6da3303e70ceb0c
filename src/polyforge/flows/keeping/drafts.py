"""Drafts on behalf of callers: shown, saved by nobody who has not seen the latest, and made versions of."""

from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from polyforge.flows.diffing import differences
from polyforge.flows.document import Document, written
from polyforge.flows.keeping.changing import Change, Tools, changing, looking, tell
from polyforge.flows.keeping.contents import Packed, faulty
from polyforge.flows.keeping.records import (
    MAX_VERSION_BYTES,
    MAX_VERSIONS,
    Committed,
    Draft,
    DraftRow,
    Flow,
    VersionInfo,
)
from polyforge.flows.keeping.service import about
from polyforge.flows.keeping.store import FlowStore
from polyforge.flows.keeping.tables import flow_drafts, flow_versions, flows
from polyforge.flows.problems import errors_in
from polyforge.kernel.clock import utc
from polyforge.kernel.errors import Conflict, Outdated
from polyforge.tenancy.callers import Caller


class Drafts:
    """Each flow has one draft, which may be wrong as long as it can be read; a version of it is right."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def read(self, content: bytes) -> Document:
        """The flow in a file; Faulty where there is none."""
        return await self._tools.desk.read(content)

    async def load(self, value: object) -> Document:
        """The flow in decoded JSON; Faulty where there is none."""
        return await self._tools.desk.load(value)

    async def get(self, caller: Caller, name: str) -> Draft:
        """The draft of a flow, with what is wrong with it."""
        async with looking(self._tools, caller, name) as at:
            row = await _row(at.store, at.flow)
        document = await self._tools.desk.unpack(row.content)
        return Draft(at.flow, row, document, (await self._tools.desk.check(document)).problems)

    async def save(self, caller: Caller, name: str, document: Document, revision: int | None) -> Draft:
        """Replace the draft; Outdated when it is no longer at `revision`, None: whatever it is at."""
        packed = await self._tools.desk.pack(document)
        async with changing(self._tools, caller, name) as change:
            row = await _row(change.editor, change.flow)
            fits = revision in (None, row.revision)
            if fits and row.content != packed.content:
                row = await self._save(caller, change, row, packed)
        if not fits:
            raise await self._outdated(packed.document, row, revision)
        return Draft(replace(change.flow, **about(packed.document)), row, packed.document, packed.problems)

    async def describe(self, caller: Caller, name: str, title: str | None, description: str | None) -> None:
        """Change what a flow is called, or said to be, in its draft; what is None stays."""
        draft = await self.get(caller, name)
        document = replace(
            draft.document,
            name=draft.document.name if title is None else title,
            description=draft.document.description if description is None else description or None,
        )
        await self.save(caller, name, await self._tools.desk.load(written(document)), draft.row.revision)

    async def commit(self, caller: Caller, name: str, message: str, revision: int | None) -> Committed:
        """Make a version of the draft, or find the one that it is already.

        Faulty for a draft with errors, Outdated when it is no longer at `revision`, Conflict for too many versions.
        """
        draft = await self.get(caller, name)
        if revision not in (None, draft.row.revision):
            raise await self._outdated(draft.document, draft.row, revision)
        if errors_in(draft.problems):
            raise faulty(draft.problems)
        async with changing(self._tools, caller, name) as change:
            row = await _row(change.editor, change.flow)
            if row.revision != draft.row.revision:
                raise Conflict("the draft was changed while it was checked; look at it, and commit it again")
            known = await change.editor.version(change.flow.id, row.version)
            info = known or await self._add(caller, change, draft, message)
            await self._advance(caller, change, info, created=known is None)
        return Committed(info, known is None, draft.problems)

    async def _save(self, caller: Caller, change: Change, row: DraftRow, packed: Packed) -> DraftRow:
        saved = {
            "revision": row.revision + 1,
            "version": packed.version,
            "content": packed.content,
            "size": packed.size,
            "updated_by": caller.key_id,
            "updated_at": change.now,
        }
        flow = change.flow
        await change.editor.change(flow_drafts, flow_drafts.c.flow_id == flow.id, saved)
        await change.editor.change(flows, flows.c.id == flow.id, about(packed.document))
        before = {"revision": row.revision, "draft": row.version}
        after = {"revision": row.revision + 1, "draft": packed.version}
        await tell(self._tools, caller, change, "flow.draft_saved", before, after)
        return replace(row, **saved)

    async def _add(self, caller: Caller, change: Change, draft: Draft, message: str) -> VersionInfo:
        flow, row = change.flow, draft.row
        count, size = await change.editor.kept(flow.id)
        if count >= MAX_VERSIONS or size + row.size > MAX_VERSION_BYTES:
            raise Conflict(f"{flow.slug!r} has {count} versions of {size} bytes, as many as there may be; remove some")
        info = VersionInfo(
            flow_id=flow.id,
            version=row.version,
            number=flow.last_number + 1,
            parent=flow.head,
            title=draft.document.name,
            message=message,
            size=row.size,
            nodes=len(draft.document.nodes),
            created_by=caller.key_id,
            created_at=change.now,
        )
        await change.editor.add(flow_versions, {**_fields(info), "content": row.content})
        return info

    async def _advance(self, caller: Caller, change: Change, info: VersionInfo, *, created: bool) -> None:
        """The version is the flow's latest, and what its draft goes on from."""
        flow = change.flow
        last = max(flow.last_number, info.number)
        await change.editor.change(flow_drafts, flow_drafts.c.flow_id == flow.id, {"base": info.version})
        if created or flow.head != info.version:
            await change.editor.change(flows, flows.c.id == flow.id, {"head": info.version, "last_number": last})
            after = {"version": info.version, "number": info.number, "message": info.message}
            await tell(self._tools, caller, change, "flow.committed", {"version": flow.head}, after)

    async def _outdated(self, sent: Document, row: DraftRow, revision: int | None) -> Outdated:
        """Who changed the draft, when, and how it differs from what was sent."""
        now = await self._tools.desk.unpack(row.content)
        changed = await self._tools.desk.run(lambda: to_builtins(differences(sent, now)))
        current: dict[str, Any] = {
            "revision": row.revision,
            "changed_by": row.updated_by,
            "changed_at": utc(row.updated_at).isoformat(),
            "differences": changed,
        }
        message = (
            f"the draft is at revision {row.revision}, you have seen {revision}; merge what changed, and save again"
        )
        return Outdated(message, current=current)


def _fields(info: VersionInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in info.__struct_fields__}


async def _row(store: FlowStore, flow: Flow) -> DraftRow:
    row = await store.draft(flow.id)
    assert row is not None, "each flow has a draft"
    return row
