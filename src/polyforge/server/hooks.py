"""POST /hooks/{trigger}: where other systems call to have a flow run."""

from collections.abc import Callable
from typing import Final

import msgspec

from polyforge.flows.triggers.firing import MAX_BODY_BYTES, Firings
from polyforge.kernel.errors import MethodNotAllowed
from polyforge.server.http import Receive, Scope, Send, declared_length, first_values, read_body, send_whole

PREFIX: Final = "/hooks/"
_JSON: Final = (b"content-type", b"application/json")


class Hooks:
    """Nobody signs in here: a delivery proves by itself that it comes from who knows the trigger's secret.

    `address` tells where a request comes from.
    """

    def __init__(self, firings: Firings, address: Callable[[Scope], str]) -> None:
        self._firings = firings
        self._address = address

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """202 with the run that began, or that began when this delivery came before."""
        path: str = scope["path"]
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{path[:200]} takes POST", allowed="POST")
        values = first_values(scope["headers"])
        declared_length(values, MAX_BODY_BYTES)
        body = await read_body(receive, MAX_BODY_BYTES)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in values.items()}
        fired = await self._firings.delivered(path.removeprefix(PREFIX), headers, body, self._address(scope))
        told = msgspec.json.encode({"run_id": fired.run_id, "repeated": fired.repeated})
        await send_whole(send, 202, [_JSON], told)
