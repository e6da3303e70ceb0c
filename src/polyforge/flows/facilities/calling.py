"""Calls addresses that people wrote into flows, where the guard lets them."""

from collections.abc import Mapping

from polyforge.egress.fetching import fetch
from polyforge.egress.guarding import Guard
from polyforge.flows.running.contract import HttpAnswer


class GuardedHttp:
    """Each call on a connection of its own, to the address that was looked up and allowed."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """The answer, whatever its status; errors as for `fetch`."""
        found = await fetch(
            self._guard, method, url, headers, body, timeout_seconds=timeout_seconds, max_bytes=max_bytes
        )
        return HttpAnswer(found.status, found.headers, found.body)
