"""Keeping files for a project, on behalf of a caller."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

from polyforge.batch.files.records import File, Told, Wish, file_name, object_key
from polyforge.batch.files.settings import FileSettings
from polyforge.batch.files.store import FileEditor, FileStore
from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.dialects.openai_files import BATCH, BATCH_OUTPUT, absent, file_id
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, PolyforgeError, TooLarge, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.ports.objects import ObjectStore, Stored
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

_DAY_SECONDS: Final = 86_400
_COMING_SECONDS: Final = _DAY_SECONDS
"""How long an upload may take; what is left of one that broke off goes after it."""
_RETAINED: Final = frozenset({BATCH, BATCH_OUTPUT})
_log = get_logger(__name__)


class FileService:
    """Uploads, shows, reads and deletes files. The bytes come first: a row that callers see has them all."""

    def __init__(
        self, settings: FileSettings, database: Database, objects: ObjectStore, clock: Clock, recorder: Recorder
    ) -> None:
        self._settings = settings
        self._database = database
        self._objects = objects
        self._clock = clock
        self._recorder = recorder
        self._uploads = 0

    @property
    def max_bytes(self) -> int:
        """Of the largest file that is taken."""
        return self._settings.max_bytes

    async def upload(self, caller: Caller, name: str, content: AsyncIterable[bytes], told: Told) -> File:
        """Keep a file that comes from a caller; `told` is asked what it is for when its bytes have gone past.

        TooLarge for one that is, Conflict when the project has no room for it, Unavailable when too many are under way.
        """
        if self._uploads >= self._settings.uploads_at_once:
            raise Unavailable("too many uploads are under way; try again", retry_after=2.0)
        self._uploads += 1
        try:
            return await self.keep(caller, name, self._limited(content), told)
        finally:
            self._uploads -= 1

    async def keep(
        self, caller: Caller, name: str, content: AsyncIterable[bytes], told: Told, id_: str | None = None
    ) -> File:
        """Keep a file on behalf of a caller, however large it is and however many are under way.

        With an id, it takes the place of what an earlier attempt left under that. Conflict as for `upload`.
        """
        scope, id_ = scope_of(caller), id_ or new_ulid()
        await self._begin(scope, caller, id_, name)
        try:
            stored = await self._objects.put(object_key(scope, id_), content)
            return await self._complete(scope, caller, id_, stored, await told())
        except BaseException:
            await asyncio.shield(self._discard(scope, id_))
            raise

    async def page(
        self,
        caller: Caller,
        limit: int,
        *,
        after: str | None = None,
        descending: bool = True,
        purpose: str | None = None,
    ) -> tuple[list[File], bool]:
        """Files of the caller's project by age, and whether there are more."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found = await FileStore(session, scope).page(
                self._clock.now(), limit + 1, after=after, descending=descending, purpose=purpose
            )
        return found[:limit], len(found) > limit

    async def get(self, caller: Caller, id_: str) -> File:
        """One file; NotFound for one that the caller's project does not have."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found = await FileStore(session, scope).find(id_, self._clock.now())
        if found is None:
            raise absent(file_id(id_))
        return found

    def content(self, caller: Caller, file: File, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes of a file that `get` gave, or some of them; NotFound when it was deleted meanwhile."""
        return self._objects.get(object_key(scope_of(caller), file.id), first, count)

    async def delete(self, caller: Caller, id_: str) -> None:
        """Delete a file; NotFound for one that the caller's project does not have. Nobody sees it from then on."""
        scope, now = scope_of(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = FileEditor(session, scope)
            found = await editor.find(id_, now)
            if found is None:
                raise absent(file_id(id_))
            # From now on it is hidden; what is not removed below is removed with all that has had its time.
            await editor.change(id_, {"expires_at": now})
            await self._note(session, caller, "file.deleted", found)
        await self._discard(scope, id_)

    async def _begin(self, scope: Scope, caller: Caller, id_: str, name: str) -> None:
        now = self._clock.now()
        values = {
            "id": id_,
            "owner_id": caller.key_id,
            "user_id": caller.user_id,
            "purpose": "",
            "name": file_name(name),
            "size": 0,
            "sha256": "",
            "complete": False,
            "created_at": now,
            "expires_at": now + _COMING_SECONDS,
        }
        async with self._database.write(scope) as session:
            editor = FileEditor(session, scope)
            await editor.remove([id_])
            await editor.add(values)

    async def _complete(self, scope: Scope, caller: Caller, id_: str, stored: Stored, wish: Wish) -> File:
        now = self._clock.now()
        values = {
            "purpose": wish.purpose,
            "size": stored.size,
            "sha256": stored.sha256,
            "complete": True,
            "expires_at": self._expiry(wish, now),
        }
        async with self._database.write(scope) as session:
            editor = FileEditor(session, scope)
            if await editor.total_bytes() + stored.size > self._settings.max_project_bytes:
                most = self._settings.max_project_bytes
                raise Conflict(f"the files of this project would have more than {most} bytes; delete some")
            changed = await editor.change(id_, values)
            found = await editor.find(id_, now) if changed else None
            if found is None:
                raise Unavailable("the file took too long to come; send it again")
            await self._note(session, caller, "file.uploaded", found)
        return found

    def _expiry(self, wish: Wish, now: float) -> float | None:
        if wish.seconds is not None:
            return now + wish.seconds
        return now + self._settings.batch_retention_days * _DAY_SECONDS if wish.purpose in _RETAINED else None

    async def _limited(self, content: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
        size = 0
        async for piece in content:
            size += len(piece)
            if size > self.max_bytes:
                raise TooLarge(f"the file has more than {self.max_bytes} bytes; split it", param="file")
            yield piece

    async def _discard(self, scope: Scope, id_: str) -> None:
        """Let go of the bytes, then of the row. What cannot be removed now expires."""
        try:
            await self._objects.delete(object_key(scope, id_))
            async with self._database.write(scope) as session:
                await FileEditor(session, scope).remove([id_])
        except PolyforgeError as error:
            _log.warning("a file could not be removed yet", file=id_, reason=error.message)

    async def _note(self, session: WriteSession, caller: Caller, action: str, file: File) -> None:
        """For the audit log; what a file is called may tell of people, and the log forgets nothing."""
        subject = Subject("file", file.id, caller.organization_id, caller.project_id)
        await self._recorder.noted(session, caller, action, subject, {"purpose": file.purpose, "size": file.size})


def scope_of(caller: Caller) -> Scope:
    """Where a caller's files lie."""
    return Scope(caller.organization_id, caller.project_id)
