"""How large a flow may be. What is beyond is refused before anything looks into it."""

from typing import Final

MAX_BYTES: Final = 8 << 20
MAX_DEPTH: Final = 64
"""Objects and lists inside one another."""
MAX_VALUES: Final = 300_000
"""Values in the whole file: each takes some microseconds where it is looked at."""
MAX_TEXT: Final = 200_000
"""Characters in one text."""
MAX_NODES: Final = 5_000
MAX_GROUPS: Final = 500
MAX_GROUP_DEPTH: Final = 8
MAX_INPUTS: Final = 200
"""Inputs of one node, and variables of one loop."""
MAX_LINKS: Final = 50_000
MAX_CONTROL: Final = 10_000
MAX_INTERFACE: Final = 100
"""Inputs, and outputs, of a flow."""
MAX_REQUIRES: Final = 1_000
MAX_ITERATIONS: Final = 10_000
MAX_PARALLEL: Final = 64
MAX_TIMEOUT: Final = 86_400
MAX_RETRIES: Final = 10
MAX_INTEGER: Final = 2**53 - 1
"""Beyond it a number is not the same in every language that reads JSON."""
MAX_EXPRESSION: Final = 4_000
MAX_EXPRESSIONS: Final = 300_000
"""Characters in all expressions of a flow together: reading them takes some microseconds each."""
MAX_PROBLEMS: Final = 200
"""Problems that are told; what is beyond is counted."""
MAX_DEPENDENTS: Final = 50
"""Nodes named in one problem because they depend on what is wrong."""
