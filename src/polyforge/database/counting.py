"""Numbers that rise in the order of commits."""

from sqlalchemy import BigInteger, Column, String, Table, update

from polyforge.database.metadata import metadata
from polyforge.database.sessions import WriteSession

generations = Table(
    "generations",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)


async def take_number(session: WriteSession, name: str) -> int:
    """The next number of a row that a migration made; holds a lock on it until the transaction ends."""
    bump = update(generations).where(generations.c.name == name).values(value=generations.c.value + 1)
    row = await session.returning(bump.returning(generations.c.value))
    if row is None:
        raise RuntimeError(f"there is no counter {name!r}; was the database migrated?")
    return row["value"]
