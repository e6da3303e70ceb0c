"""Rows of the ledger, read."""

from typing import Any, Final

from sqlalchemy import RowMapping

from polyforge.kernel.usage import Usage

_USAGE: Final[dict[str, str]] = {
    "input": "input_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
    "exact": "exact",
    "audio_input": "audio_input_tokens",
    "audio_output": "audio_output_tokens",
    "image_input": "image_input_tokens",
    "images": "images",
    "milliseconds": "milliseconds",
    "characters": "characters",
}
"""From the fields of `Usage` to the columns that hold them."""


def usage_of(row: RowMapping) -> Usage:
    """What a call used."""
    fields: dict[str, Any] = {field: row[column] for field, column in _USAGE.items()}
    return Usage(**fields)
