"""Aliases on behalf of callers: pointed at versions, back again, and nowhere; each change is kept."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import and_

from polyforge.flows.keeping.changing import Change, Looking, Tools, changing, looking, tell
from polyforge.flows.keeping.choosing import choose
from polyforge.flows.keeping.records import MAX_ALIASES, MAX_CHANGES, Action, Alias, AliasChange, check_alias, is_alias
from polyforge.flows.keeping.tables import flow_alias_changes, flow_aliases
from polyforge.kernel.errors import Conflict, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import check_cursor


class Aliases:
    """What points at versions of flows."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def all(self, caller: Caller, name: str) -> list[Alias]:
        """The aliases of a flow, by name."""
        async with looking(self._tools, caller, name) as at:
            return await at.store.aliases(at.flow.id)

    async def point(self, caller: Caller, name: str, alias: str, version: str, note: str) -> Alias:
        """Point an alias, which need not be there, at a version; NotFound for a version that there is not."""
        async with changing(self._tools, caller, name) as change:
            check_alias(alias)
            info, _ = await choose(Looking(change.editor, change.flow), version)
            known = await change.editor.alias(change.flow.id, alias)
            if known is not None and known.version == info.version:
                return known
            if known is None and len(await change.editor.aliases(change.flow.id)) >= MAX_ALIASES:
                raise Conflict(f"{change.flow.slug!r} has {MAX_ALIASES} aliases, as many as there may be; remove one")
            return await self._move(caller, change, alias, known, info.version, "set", note)

    async def roll_back(self, caller: Caller, name: str, alias: str, note: str) -> Alias:
        """Point an alias at the version that it pointed at before; Conflict where there is none left."""
        async with changing(self._tools, caller, name) as change:
            known = await _known(change, alias)
            history = await change.editor.changes(change.flow.id, MAX_CHANGES, alias=known.alias)
            path = way_back(history)
            for version in path:
                if await change.editor.version(change.flow.id, version) is not None:
                    return await self._move(caller, change, known.alias, known, version, "rolled_back", note)
            raise Conflict(
                f"{known.alias!r} of {change.flow.slug!r} pointed at no other version before; point it at one"
            )

    async def remove(self, caller: Caller, name: str, alias: str, note: str) -> None:
        """Let an alias point nowhere."""
        async with changing(self._tools, caller, name) as change:
            known = await _known(change, alias)
            columns = flow_aliases.c
            await change.editor.remove(
                flow_aliases, and_(columns.flow_id == change.flow.id, columns.alias == known.alias)
            )
            await self._note(caller, change, known.alias, known, None, "removed", note)

    async def history(
        self, caller: Caller, name: str, limit: int, before: str | None, alias: str | None
    ) -> tuple[list[AliasChange], str | None]:
        """Where aliases pointed, newest first, and the cursor of the next page."""
        async with looking(self._tools, caller, name) as at:
            if alias is not None:
                check_alias(alias)
            check_cursor(before)
            found = await at.store.changes(at.flow.id, limit + 1, before, alias)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def _move(
        self, caller: Caller, change: Change, name: str, known: Alias | None, version: str, action: Action, note: str
    ) -> Alias:
        alias = Alias(
            flow_id=change.flow.id, alias=name, version=version, changed_by=caller.key_id, changed_at=change.now
        )
        columns = flow_aliases.c
        this = and_(columns.flow_id == alias.flow_id, columns.alias == alias.alias)
        if not await change.editor.change(flow_aliases, this, asdict(alias)):
            await change.editor.add(flow_aliases, asdict(alias))
        await self._note(caller, change, name, known, version, action, note)
        return alias

    async def _note(
        self,
        caller: Caller,
        change: Change,
        alias: str,
        known: Alias | None,
        version: str | None,
        action: Action,
        note: str,
    ) -> None:
        previous = None if known is None else known.version
        entry = AliasChange(
            id=new_ulid(),
            flow_id=change.flow.id,
            alias=alias,
            version=version,
            previous=previous,
            action=action,
            note=note,
            changed_by=caller.key_id,
            changed_at=change.now,
        )
        await change.editor.add(flow_alias_changes, asdict(entry))
        await change.editor.trim(change.flow.id, MAX_CHANGES)
        before: dict[str, Any] = {"alias": alias, "version": previous}
        after: dict[str, Any] = {"alias": alias, "version": version, "note": note}
        await tell(self._tools, caller, change, f"flow.alias_{action}", before, after)


def way_back(history: Sequence[AliasChange]) -> list[str]:
    """The versions that an alias pointed at before the present one, the nearest first.

    `history` is what was done to it, newest first. A rollback undoes what was set, so the next one goes further back,
    and not to what was just left.
    """
    path: list[str] = []
    for each in reversed(history):
        if each.version is None:
            path = []
        elif each.action == "rolled_back":
            while path and path[-1] != each.version:
                path.pop()
            path = path or [each.version]
        else:
            path.append(each.version)
    present = path[-1] if path else None
    return [version for version in reversed(path[:-1]) if version != present]


async def _known(change: Change, name: str) -> Alias:
    known = await change.editor.alias(change.flow.id, name) if is_alias(name) else None
    if known is None:
        raise NotFound(f"{change.flow.slug!r} has no alias {name[:64]!r}")
    return known
