"""The walls between tenants in PostgreSQL, as the migrations build them.

Migrations are history, so what is here stays as it is: a wall of another kind is another function.
"""

from alembic import op

ORGANIZATION = ("organization",)
PROJECT = ("organization", "project")


def wall_off(table: str, levels: tuple[str, ...] = PROJECT) -> None:
    """Rows of other tenants are hidden from a transaction that named its own, even from the owner of the table.

    Only PostgreSQL has such walls; elsewhere nothing is done.
    """
    if op.get_bind().dialect.name != "postgresql":
        return
    same = " AND ".join(
        f"coalesce(current_setting('polyforge.{level}', true), '') IN ('', {level}_id)" for level in levels
    )
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} USING ({same})")
