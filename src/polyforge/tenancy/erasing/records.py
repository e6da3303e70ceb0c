"""Who is to be forgotten, and how far that is."""

from typing import Literal, Protocol

import msgspec

from polyforge.database.scopes import Scope
from polyforge.tenancy.history.records import Place


class Person(msgspec.Struct, frozen=True):
    """An end user as callers name them, or a user by id."""

    kind: Literal["end_user", "user"]
    name: str


class Erased(msgspec.Struct, frozen=True):
    """What was done so far, and where to go on; None: all of it is done."""

    requests: int = 0
    """Rows of the ledger that lost a name."""
    payloads: int = 0
    feedback: int = 0
    conversations: int = 0
    files: int = 0
    runs: int = 0
    batches: int = 0
    jobs: int = 0
    going_on: int = 0
    """Jobs that were told to end, and are not over yet: what they hold is removed once they are."""
    place: Place | None = None

    def then(self, more: "Erased") -> "Erased":
        """This and what was done after it."""
        return Erased(
            self.requests + more.requests,
            self.payloads + more.payloads,
            self.feedback + more.feedback,
            self.conversations + more.conversations,
            self.files + more.files,
            self.runs + more.runs,
            self.batches + more.batches,
            self.jobs + more.jobs,
            more.going_on,
            more.place,
        )


class Belongings(Protocol):
    """What users left in a room above this one."""

    async def forget(self, scope: Scope, user_id: str) -> tuple[int, bool]:
        """Remove a bounded part of what a user left in a project; how much, and whether nothing else can be removed."""
        ...


class Work(Belongings, Protocol):
    """What is done in the name of users."""

    async def end(self, scope: Scope, user_id: str) -> int:
        """Have all end that goes on in a user's name; how much of it is not over yet."""
        ...


class Rooms(msgspec.Struct, frozen=True):
    """The rooms above this one that know users."""

    jobs: Work
    runs: Belongings
    batches: Belongings
    files: Belongings
