"""The tables of the export of request logs."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata
from polyforge.kernel.sizes import NAME_LENGTH

request_log_batches = Table(
    "request_log_batches",
    metadata,
    # From 1, in the order of the commits; gone once every sink has it.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    # Ids of usage records, with spaces between them.
    Column("record_ids", Text, nullable=False),
    time_column("created_at"),
)

request_log_exports = Table(
    "request_log_exports",
    metadata,
    # A sink of the settings, and up to which batch it has everything.
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    time_column("retry_at"),
    Column("error", Text),
    # Which process sends, and until when nobody else does.
    id_column("holder", nullable=True),
    time_column("held_until"),
)

request_log_dead_letters = Table(
    "request_log_dead_letters",
    metadata,
    # Requests that a sink refused for good.
    id_column("id", primary_key=True),
    Column("export", String(NAME_LENGTH), nullable=False),
    id_column("request_id"),
    Column("reason", Text, nullable=False),
    time_column("at"),
    # When somebody asked to send it again.
    time_column("wanted_at", nullable=True),
    Index(None, "export", "id"),
)
