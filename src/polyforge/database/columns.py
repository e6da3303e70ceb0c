"""Columns that many tables have. Ids are ULIDs; times are seconds since the epoch; money is whole micro-USD."""

from typing import Any

from sqlalchemy import Column, Double, ForeignKey, LargeBinary, String

from polyforge.kernel.sizes import NAME_LENGTH

HASH_BYTES = 32
"""SHA-256."""


def id_column(name: str, *constraints: ForeignKey, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    """A ULID."""
    return Column(name, String(26), *constraints, nullable=nullable, primary_key=primary_key)


def time_column(name: str, *, nullable: bool = False) -> Column[Any]:
    """Seconds since the epoch."""
    return Column[Any](name, Double(), nullable=nullable)


def name_column(name: str, *, nullable: bool = False) -> Column[Any]:
    """What a person calls something."""
    return Column(name, String(NAME_LENGTH), nullable=nullable)


def hash_column(name: str, *, unique: bool = False, nullable: bool = False) -> Column[Any]:
    """The SHA-256 of a secret that was given out."""
    return Column(name, LargeBinary(HASH_BYTES), unique=unique, nullable=nullable)
