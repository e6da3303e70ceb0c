"""Forgetting a person, on behalf of a caller and within its project."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from msgspec.structs import replace

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.erasing.pseudonyms import Pseudonyms
from polyforge.tenancy.erasing.records import Belongings, Erased, Person, Rooms
from polyforge.tenancy.erasing.store import PersonEditor, PersonStore, Rename
from polyforge.tenancy.history.records import END, read_place

MOST_STEPS: Final = 10
"""Transactions of one call; whoever wants more of it done calls again."""


class ErasingService:
    """Removes what somebody said, saved and had done, and names end users by pseudonyms: every sum stays."""

    def __init__(self, database: Database, recorder: Recorder, master: MasterKeys, rooms: Rooms) -> None:
        self._database = database
        self._recorder = recorder
        self._pseudonyms = Pseudonyms(master)
        self._rooms = rooms

    async def erase(self, caller: Caller, person: Person, cursor: str | None) -> Erased:
        """Forget as much as one call may; `place` says where to go on. Invalid for a cursor that is none."""
        scope = Scope(caller.organization_id, caller.project_id)
        rename = partial(self.pseudonym, caller.project_id)
        going_on = await self._rooms.jobs.end(scope, person.name) if person.kind == "user" else 0
        done = Erased(place=read_place(cursor))
        for _ in range(MOST_STEPS):
            # To look takes longer than to change: nobody else has to wait for it.
            async with self._database.read(scope) as session:
                rows, following = await PersonStore(session, scope, person).page(done.place)
            async with self._database.write(scope) as session:
                done = done.then(await PersonEditor(session, scope, person).forget(rows, following, rename))
            done = await self._forget_belongings(scope, person, done)
            if done.place is None:
                await self._rename_series(scope, person, rename)
                break
        done = replace(done, going_on=going_on)
        await self._note(caller, person, rename, done)
        return done

    def pseudonym(self, project_id: str, end_user: str) -> str:
        """What stands for an end user of a project who was forgotten."""
        return self._pseudonyms.of(project_id, end_user)

    async def _forget_belongings(self, scope: Scope, person: Person, done: Erased) -> Erased:
        """What was done, and what a user left in other rooms beside it."""
        if person.kind != "user":
            return done
        for name, room in self._belongings():
            removed, complete = await room.forget(scope, person.name)
            place = done.place if complete or done.place is not None else END
            done = done.then(replace(Erased(place=place), **{name: removed}))
        return done

    def _belongings(self) -> Iterator[tuple[str, Belongings]]:
        """By the field of `Erased` that counts them. Jobs go last: they tell the others what is over."""
        yield "runs", self._rooms.runs
        yield "batches", self._rooms.batches
        yield "files", self._rooms.files
        yield "jobs", self._rooms.jobs

    async def _rename_series(self, scope: Scope, person: Person, rename: Rename) -> None:
        last: str | None = ""
        while last is not None:
            async with self._database.write(scope) as session:
                last = await PersonEditor(session, scope, person).rename_series(last, rename)

    async def _note(self, caller: Caller, person: Person, rename: Rename, done: Erased) -> None:
        """The audit log, which forgets nothing, gets the pseudonym."""
        name = person.name if person.kind == "user" else rename(person.name)
        subject = Subject(person.kind, name, caller.organization_id, caller.project_id)
        told = {
            "requests": done.requests,
            "payloads": done.payloads,
            "feedback": done.feedback,
            "conversations": done.conversations,
            "files": done.files,
            "runs": done.runs,
            "batches": done.batches,
            "jobs": done.jobs,
        }
        async with self._database.write() as session:
            complete = {**told, "complete": done.place is None and not done.going_on}
            await self._recorder.noted(session, caller, "requests.deleted", subject, complete)
