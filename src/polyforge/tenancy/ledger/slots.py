"""Where the numbers of a slot of the counters' file stand, of a key's and of a limit's: both are as large.

All are places of 8 bytes from the start of the slot, but for those of a window, which count from `KEY_WINDOW`.
"""

from typing import Final

NUMBER_BYTES: Final = 8
NAME_BYTES: Final = 32
SLOT_BYTES: Final = 512
TICKS: Final = 13
"""How many ticks a window has places for: those of its length, and the one that goes on."""

BASE_PERIOD, BASE_SPENT, CORRECTED_PERIOD, CORRECTED = 4, 5, 6, 7
"""Behind the name of every slot: of which window, and how much, is the base, and are corrections."""

KEY_WINDOW: Final = 8
KEY_TICK, KEY_REQUEST_SUM, KEY_TOKEN_SUM, KEY_REQUESTS, KEY_TOKENS = 0, 1, 2, 3, 3 + TICKS
KEY_TICK_SECONDS: Final = 5
KEY_FORGOTTEN_SECONDS: Final = float(TICKS * KEY_TICK_SECONDS)
"""The window of requests and tokens of a key."""

LIMIT_TICKS_PER_WINDOW: Final = TICKS - 1
LIMIT_TICK, LIMIT_SUM, LIMIT_RING = 8, 9, 10
"""The ring of a limit whose window rolls."""
READY, SINCE, EXTRA, EXTRA_UNTIL, STATE, TOLD_WINDOW, TOLD, REACHED_WINDOW = 40, 41, 42, 43, 44, 45, 46, 47
"""What is known of a limit; 56 and 57 are kept free for what this machine was granted, and when."""
HOLDS: Final = 48
"""Whether the cells of a slot with a ring may hold something beside it."""
LEASES: Final = 58
"""Behind everything else: what this machine was lent of a limit that machines share."""
