"""The table of batches."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, String, Table, Text

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

batches = Table(
    "batches",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # The user, the key or the service account that made it.
    id_column("owner_id"),
    Column("job_id", String(30), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    id_column("input_file_id"),
    id_column("output_file_id", nullable=True),
    id_column("error_file_id", nullable=True),
    # How long files of answers are kept, where whoever made it says so.
    Column("output_seconds", Double),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    # JSON.
    Column("usage", Text, nullable=False),
    Column("problems", Text, nullable=False),
    Column("labels", Text, nullable=False),
    # JSON too: what is read and written in stores of data; none where that is files.
    Column("exchange", Text),
    time_column("created_at"),
    time_column("window_ends_at"),
    time_column("in_progress_at", nullable=True),
    time_column("finalizing_at", nullable=True),
    time_column("cancelling_at", nullable=True),
    # When it was completed, failed, expired or cancelled.
    time_column("ended_at", nullable=True),
    # When its row goes.
    time_column("expires_at"),
    Index(None, "project_id", "id"),
    Index(None, "expires_at"),
)
