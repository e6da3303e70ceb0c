"""Sizes that many rooms agree on."""

from typing import Final

NAME_LENGTH: Final = 200
"""Characters in what a person calls something."""
