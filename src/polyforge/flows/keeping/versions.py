"""Versions on behalf of callers: shown, compared, merged, exported, taken away."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import and_

from polyforge.flows.canonical import save
from polyforge.flows.diffing import Differences, differences
from polyforge.flows.document import Document
from polyforge.flows.keeping.changing import Looking, Tools, changing, looking, tell
from polyforge.flows.keeping.choosing import choose
from polyforge.flows.keeping.records import DRAFT, VersionInfo
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.keeping.tables import flow_versions
from polyforge.flows.merging import Merged, merge
from polyforge.flows.problems import Problem
from polyforge.kernel.errors import Conflict, Faulty, Invalid, NotFound
from polyforge.tenancy.callers import Caller

Source = str | Mapping[str, Any]
"""Which document: `draft`, or what names a version; or the document itself."""


class Compared(msgspec.Struct, frozen=True):
    """What changed from one document to another, and which versions they are; None: the draft."""

    before: str | None
    after: str | None
    differences: Differences


class MergedDraft(msgspec.Struct, frozen=True):
    """What a merge came to, and what is wrong with the flow that it made."""

    merged: Merged
    problems: tuple[Problem, ...]


class Versions:
    """The versions of each flow; NotFound for what there is not."""

    def __init__(self, tools: Tools, flows: FlowService) -> None:
        self._tools = tools
        self._flows = flows

    async def page(
        self, caller: Caller, name: str, limit: int, before: int | None
    ) -> tuple[list[VersionInfo], int | None]:
        """Up to `limit` versions, newest first, and the cursor of the next page."""
        async with looking(self._tools, caller, name) as at:
            found = await at.store.versions(at.flow.id, limit + 1, before)
        return found[:limit], found[limit - 1].number if len(found) > limit else None

    async def get(self, caller: Caller, name: str, version: str) -> tuple[VersionInfo, Document]:
        """One version with what it holds."""
        async with looking(self._tools, caller, name) as at:
            info, _ = await choose(at, version)
            content = await at.store.content(at.flow.id, info.version)
        return info, await self._opened(info, content)

    async def document(self, caller: Caller, flow_id: str, version: str) -> Document:
        """What the version with an id holds, that of a flow that was put away too: a run that began goes on."""
        async with looking(self._tools, caller, flow_id) as at:
            info = await at.store.version(at.flow.id, version)
            if info is None:
                raise NotFound(f"{at.flow.slug!r} has no version {version[:64]!r}")
            content = await at.store.content(at.flow.id, info.version)
        return await self._opened(info, content)

    async def remove(self, caller: Caller, name: str, version: str) -> None:
        """Take a version away; Conflict for the latest, and for one that an alias, or somebody else, needs."""
        async with looking(self._tools, caller, name) as at:
            info, _ = await choose(at, version)
        await self._flows.refuse_needed(caller, info.flow_id, info.version)
        async with changing(self._tools, caller, name) as change:
            if change.flow.head == info.version:
                raise Conflict(f"version {info.number} is the latest of {change.flow.slug!r}; commit another one first")
            pointing = [
                each.alias for each in await change.editor.aliases(info.flow_id) if each.version == info.version
            ]
            if pointing:
                raise Conflict(f"{pointing[0]!r} points at version {info.number}; point it at another one first")
            # Somebody may have begun to need it since.
            await self._flows.refuse_needed(caller, info.flow_id, info.version)
            columns = flow_versions.c
            this = and_(columns.flow_id == info.flow_id, columns.version == info.version)
            await change.editor.remove(flow_versions, this)
            await tell(self._tools, caller, change, "flow.version_removed", _told(info), None)

    async def compare(self, caller: Caller, name: str, before: str, after: str) -> Compared:
        """What changed between two of a flow's versions, its draft among them; Invalid for one that it has not."""
        async with looking(self._tools, caller, name) as at:
            old = await self._source(at, before, "from")
            new = await self._source(at, after, "to")
        first, second = await self._document(old), await self._document(new)
        found = await self._tools.desk.run(lambda: differences(first, second))
        return Compared(_version(old), _version(new), found)

    async def merge(self, caller: Caller, name: str, base: Source, ours: Source, theirs: Source) -> MergedDraft:
        """Two changed copies of a flow made one; nothing is saved. Invalid for what is no document of it."""
        async with looking(self._tools, caller, name) as at:
            named = (("base", base), ("ours", ours), ("theirs", theirs))
            sources = [(field, await self._source(at, each, field)) for field, each in named]
        three = [await self._field(field, source) for field, source in sources]
        merged = await self._tools.desk.run(lambda: merge(three[0], three[1], three[2]))
        if merged.document is None:
            return MergedDraft(merged, merged.problems)
        return MergedDraft(merged, (await self._tools.desk.check(merged.document)).problems)

    async def export(self, caller: Caller, name: str, version: str | None) -> tuple[str, bytes]:
        """The short name of a flow, and it as a file with its layout: canonical JSON.

        Of a version, or of the draft; None: what would run, or the draft where nothing was committed.
        """
        async with looking(self._tools, caller, name) as at:
            if version == DRAFT or (version is None and at.flow.head is None):
                source = await self._source(at, DRAFT, "version")
            else:
                source = await self._stored(at, version)
        document = await self._document(source)
        return at.flow.slug, await self._tools.desk.run(lambda: save(document))

    async def _source(self, at: Looking, wanted: Source, field: str) -> "_Kept":
        if not isinstance(wanted, str):
            return _Kept(None, None, wanted)
        if wanted == DRAFT:
            row = await at.store.draft(at.flow.id)
            assert row is not None, "each flow has a draft"
            return _Kept(None, row.content, None)
        try:
            return await self._stored(at, wanted)
        except (NotFound, Conflict) as error:
            raise Invalid(f"{field}: {error.message}", param=field) from error

    async def _stored(self, at: Looking, wanted: str | None) -> "_Kept":
        info, _ = await choose(at, wanted)
        return _Kept(info, await at.store.content(at.flow.id, info.version), None)

    async def _field(self, field: str, source: "_Kept") -> Document:
        try:
            return await self._document(source)
        except Faulty as error:
            raise Faulty(f"{field}: {error.message}", param=field, problems=error.problems) from error

    async def _document(self, source: "_Kept") -> Document:
        if source.inline is not None:
            return await self._tools.desk.load(source.inline)
        if source.info is not None:
            return await self._opened(source.info, source.content)
        assert source.content is not None, "a draft has content"
        return await self._tools.desk.unpack(source.content)

    async def _opened(self, info: VersionInfo, content: bytes | None) -> Document:
        assert content is not None, "a version has content"
        return await self._tools.desk.version(info.flow_id, info.version, content, info.size)


class _Kept(msgspec.Struct, frozen=True):
    """A version, the draft (without `info`), or a document that was sent along."""

    info: VersionInfo | None
    content: bytes | None
    inline: Mapping[str, Any] | None


def _version(source: _Kept) -> str | None:
    return None if source.info is None else source.info.version


def _told(info: VersionInfo) -> dict[str, Any]:
    return {"version": info.version, "number": info.number}
