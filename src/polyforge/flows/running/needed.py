"""What the runner itself needs for a node: waited for a little, and no failure of the node when it is not to be had."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from polyforge.flows.running.calls import Here
from polyforge.flows.running.records import NodeFailed, RunError
from polyforge.flows.running.scene import Tools
from polyforge.kernel.errors import PolyforgeError

_TRIES: Final = 4
T = TypeVar("T")


async def needed(tools: Tools, here: Here, what: str, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives, tried a few times where that helps.

    NodeFailed, which no policy deals with, where it cannot be had: another time it could, and what a policy makes of
    a failure is kept for good.
    """
    for number in range(_TRIES):
        try:
            return await work()
        except NodeFailed:
            raise
        except PolyforgeError as error:
            if number + 1 == _TRIES or not error.retryable:
                told = RunError.of(error, here.node, here.path)
                failure = msgspec.structs.replace(told, message=f"{what}: {told.message}")
                raise NodeFailed(failure, fatal=True) from error
        await asyncio.sleep(tools.backoff * 2**number)
    raise AssertionError("the last try ends it")
