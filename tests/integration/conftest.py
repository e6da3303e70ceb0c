"""Fixtures of the integration tests."""

from tests.support.databases import database, empty, kind, place, postgres_schema, sqlite_template
from tests.support.postgres import postgres

__all__ = ["database", "empty", "kind", "place", "postgres", "postgres_schema", "sqlite_template"]
