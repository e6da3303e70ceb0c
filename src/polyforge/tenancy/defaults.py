"""The organization and the project that every installation has.

Their ids are fixed, so that processes that start together agree without asking.
"""

from typing import Final

DEFAULT_ORGANIZATION_ID: Final = "00000000000000000000000001"
DEFAULT_PROJECT_ID: Final = "00000000000000000000000002"
DEFAULT_NAME: Final = "default"
