"""What Alembic runs: the migrations, on the connection and in the transaction that it is given."""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=attributes["metadata"],
    # SQLite's DDL is transactional too, once nobody but us begins and commits.
    transactional_ddl=True,
    render_as_batch=attributes["connection"].dialect.name == "sqlite",
)
context.run_migrations()
