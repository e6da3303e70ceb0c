"""Nobody left anything, in the rooms that forget people."""

from msgspec.structs import replace

from polyforge.database.scopes import Scope
from polyforge.tenancy.erasing.records import Belongings, Rooms


class NoFiles:
    """For what forgets people where there is nothing of theirs."""

    async def forget(self, scope: Scope, user_id: str) -> tuple[int, bool]:
        """There is nothing to remove."""
        del scope, user_id
        return 0, True


class NoWork(NoFiles):
    """For what forgets people where nothing is done."""

    async def end(self, scope: Scope, user_id: str) -> int:
        """Nothing goes on."""
        del scope, user_id
        return 0


def rooms(**present: Belongings) -> Rooms:
    """The rooms that a test has, and empty ones."""
    nothing = NoFiles()
    return replace(Rooms(jobs=NoWork(), runs=nothing, batches=nothing, files=nothing), **present)
