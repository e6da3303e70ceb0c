"""Files that go without anybody asking for it: by their time, or because somebody is to be forgotten."""

from typing import Final

from polyforge.batch.files.records import object_key
from polyforge.batch.files.store import ExpiredFiles, FileEditor, FileStore, remove_expired
from polyforge.database.database import Database
from polyforge.database.pruning import Pruning
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.ports.objects import ObjectStore

PAGE: Final = 100
"""Files that are removed in one step: each is a call to where objects are kept."""


class FilePruning(Pruning):
    """Removes files whose time has come: first their bytes, then what is known of them."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        super().__init__("files", PAGE)
        self._database = database
        self._objects = objects
        self._clock = clock

    async def step(self) -> int:
        """Remove a page of files, the oldest first; how many there were."""
        now = self._clock.now()
        async with self._database.read() as session:
            expired = await ExpiredFiles(session).page(now, PAGE)
        for scope, file_id in expired:
            await self._objects.delete(object_key(scope, file_id))
        if not expired:
            return 0
        async with self._database.write() as session:
            return await remove_expired(session, [file_id for _, file_id in expired], now)


class FilesOfPeople:
    """What somebody uploaded, to be forgotten with them."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def forget(self, scope: Scope, user_id: str) -> tuple[int, bool]:
        """Remove a page of a user's files in a project; how many, and whether that was all."""
        async with self._database.read(scope) as session:
            found = await FileStore(session, scope).of_user(user_id, PAGE)
        for file_id in found:
            await self._objects.delete(object_key(scope, file_id))
        if found:
            async with self._database.write(scope) as session:
                await FileEditor(session, scope).remove(found)
        return len(found), len(found) < PAGE
