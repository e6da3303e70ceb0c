"""The library for CEL, without the command line that it loads with itself.

That one is for typing expressions in a terminal: with all that colours and completes them it took 9 MB of every process
that knows CEL, and a tenth of a second of its start.
"""

import sys
from types import ModuleType

sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402 - its package asks for the command line at once

__all__ = ["cel"]
