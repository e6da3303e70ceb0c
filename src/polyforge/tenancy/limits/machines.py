"""Which machines share limits, in the database: each start of one enrols before it holds anything of a limit.

A machine stays enrolled until what it used is in the ledger. Its entry stands among the offsets of journals, under a
name that no journal has: as long as it is there, not all that the machine did has been read.
"""

from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from polyforge.database.database import Database
from polyforge.tenancy.tables import journal_offsets

_PREFIX: Final = "machine/"


class Machines:
    """The machines that may hold something."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enrol(self, machine: str) -> None:
        """From now on a machine may hold something."""
        insert = sqlite.insert if self._database.dialect == "sqlite" else postgresql.insert
        values = {"journal": _PREFIX + machine, "position": 0}
        async with self._database.write() as session:
            await session.change(insert(journal_offsets).values(values).on_conflict_do_nothing())

    async def dismiss(self, machine: str) -> None:
        """All that a machine did is in the ledger, and it does no more."""
        async with self._database.write() as session:
            await session.change(delete(journal_offsets).where(journal_offsets.c.journal == _PREFIX + machine))

    async def all(self) -> list[str]:
        """Every machine that may hold something."""
        query = select(journal_offsets.c.journal).where(journal_offsets.c.journal.startswith(_PREFIX))
        async with self._database.read() as session:
            return [row["journal"].removeprefix(_PREFIX) for row in await session.all(query)]
