"""What a database makes of the statements that it is sent."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from polyforge.database.database import Database

Statement = tuple[str, Any]


def is_page(statement: Statement) -> bool:
    """Whether it orders and limits what it reads."""
    return "ORDER BY" in statement[0] and "LIMIT" in statement[0]


@contextmanager
def reads(database: Database) -> Generator[list[Statement]]:
    """The SELECTs that are sent to the database meanwhile."""
    seen: list[Statement] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    engines = [engine.sync_engine for engine in database._open_engines().each()]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def plan_of(database: Database, statement: Statement) -> str:
    """How the database would go about a statement."""
    words = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN"
    async with database.bare() as connection:
        rows = await connection.exec_driver_sql(f"{words} {statement[0]}", statement[1])
        return "\n".join(str(row[-1]) for row in rows)
