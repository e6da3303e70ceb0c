"""Saving conversations, on behalf of a caller and within its project."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Denied, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys, Unsealable
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.conversations.records import (
    Conversation,
    Whole,
    content_bytes,
    open_content,
    open_title,
    seal_content,
    seal_title,
)
from polyforge.tenancy.conversations.store import ConversationEditor, ConversationRow, ConversationStore
from polyforge.tenancy.history.records import Place, read_place
from polyforge.tenancy.people.paging import check_id, not_found
from polyforge.tenancy.people.store import SystemUserStore

MAX_EACH: Final = 1_000
"""Of one owner in one project."""


class ConversationService:
    """Saves, shows, changes and deletes conversations.

    They are their owner's, who is the user, the key or the service account that calls: what a user saved is not seen by
    keys that the user made, since a project has them in common.
    """

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, master: MasterKeys) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._master = master

    async def create(self, caller: Caller, title: str, content: Mapping[str, Any], *, shared: bool) -> Conversation:
        """Save a conversation; Invalid for too much content, Conflict when the caller has too many."""
        scope, now = _scope(caller), self._clock.now()
        words, id_ = content_bytes(content), new_ulid()
        values = {
            "id": id_,
            "shared": shared,
            "version": 1,
            **await asyncio.to_thread(self._sealed, scope, id_, title, words),
            "created_at": now,
            "updated_at": now,
        }
        async with self._database.write(scope) as session:
            editor = ConversationEditor(session, scope, caller.key_id)
            if await editor.reaches(MAX_EACH):
                raise Conflict(f"you have saved {MAX_EACH} conversations here, which is the most; delete some")
            await editor.add(values)
            if shared:
                await self._note(session, caller, id_, "conversation.shared")
        return Conversation(id_, caller.key_id, shared, 1, title, len(words), now, now)

    async def page(
        self, caller: Caller, limit: int, cursor: str | None, *, shared: bool
    ) -> tuple[list[Conversation], str | None]:
        """The caller's own conversations, or all that are shared in the project, the latest changed first."""
        scope, after = _scope(caller), read_place(cursor)
        async with self._database.read(scope) as session:
            rows = await ConversationStore(session, scope, caller.key_id).page(limit + 1, after, shared=shared)
        found = await asyncio.to_thread(self._open_all, scope, rows[:limit])
        last = found[-1] if len(rows) > limit else None
        return found, None if last is None else str(Place(last.updated_at, last.id))

    async def get(self, caller: Caller, id_: str) -> Whole:
        """One that is the caller's own or shared; NotFound otherwise."""
        check_id(id_, "conversation")
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            kept = await ConversationStore(session, scope, caller.key_id).content(id_)
        if kept is None:
            raise not_found("conversation", id_)
        return await asyncio.to_thread(self._open_whole, scope, *kept)

    async def change(self, caller: Caller, id_: str, version: int, changes: Mapping[str, Any]) -> Conversation:
        """Change the title, the content, or whether it is shared.

        NotFound for one that the caller does not see, Denied for one that is somebody else's, and Conflict for one that
        has changed since `version`.
        """
        check_id(id_, "conversation")
        scope = _scope(caller)
        words = content_bytes(changes["content"]) if "content" in changes else None
        values = await asyncio.to_thread(self._sealed, scope, id_, changes.get("title"), words)
        if "shared" in changes:
            values["shared"] = changes["shared"]
        async with self._database.write(scope) as session:
            editor = ConversationEditor(session, scope, caller.key_id)
            before = await _own(editor, caller, id_)
            if not await editor.change(id_, version, {**values, "updated_at": self._clock.now()}):
                raise Conflict(f"it was changed meanwhile and has the version {before.version} now; look at that first")
            after = await _own(editor, caller, id_)
            if before.shared != after.shared:
                await self._note(session, caller, id_, f"conversation.{'shared' if after.shared else 'unshared'}")
        return (await asyncio.to_thread(self._open_all, scope, [after]))[0]

    async def remove(self, caller: Caller, id_: str) -> None:
        """Delete one of the caller's own; NotFound and Denied as in `change`."""
        check_id(id_, "conversation")
        scope = _scope(caller)
        async with self._database.write(scope) as session:
            editor = ConversationEditor(session, scope, caller.key_id)
            before = await _own(editor, caller, id_)
            await editor.remove(id_)
            if before.shared:
                await self._note(session, caller, id_, "conversation.deleted")

    async def names(self, conversations: Sequence[Conversation]) -> dict[str, str]:
        """What the people among the owners are called, by id."""
        async with self._database.read() as session:
            called = await SystemUserStore(session).called(sorted({each.owner_id for each in conversations}))
        return {user_id: name for user_id, (_, name) in called.items()}

    def _sealed(self, scope: Scope, id_: str, title: str | None, content: bytes | None) -> dict[str, Any]:
        """The columns of these words, without those that are None."""
        values: dict[str, Any] = {}
        if title is not None:
            values["title"] = seal_title(self._master, scope, id_, title)
        if content is not None:
            values["content"] = seal_content(self._master, scope, id_, content)
            values["size"] = len(content)
        return values

    def _open_all(self, scope: Scope, rows: Sequence[ConversationRow]) -> list[Conversation]:
        return [self._open(scope, row) for row in rows]

    def _open(self, scope: Scope, row: ConversationRow) -> Conversation:
        try:
            title = open_title(self._master, scope, row.id, row.title)
        except Unsealable as error:
            raise _cannot_open(error) from error
        values: dict[str, Any] = {**msgspec.structs.asdict(row), "title": title}
        return Conversation(**values)

    def _open_whole(self, scope: Scope, row: ConversationRow, sealed: bytes) -> Whole:
        try:
            content = open_content(self._master, scope, row.id, sealed)
        except Unsealable as error:
            raise _cannot_open(error) from error
        return Whole(self._open(scope, row), content)

    async def _note(self, session: WriteSession, caller: Caller, id_: str, action: str) -> None:
        """For the audit log: what others can read from now on, or no longer. What people save for themselves is not."""
        subject = Subject("conversation", id_, caller.organization_id, caller.project_id)
        await self._recorder.noted(session, caller, action, subject, {"owner": caller.key_id})


async def _own(editor: ConversationEditor, caller: Caller, id_: str) -> ConversationRow:
    """One of the caller's own."""
    row = await editor.find(id_)
    if row is None:
        raise not_found("conversation", id_)
    if row.owner_id != caller.key_id:
        raise Denied("it is somebody else's; save a copy to change it")
    return row


def _cannot_open(error: Unsealable) -> Unavailable:
    return Unavailable(f"a conversation cannot be opened: {error}")


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)
