"""What stands before a model host that is called without a gateway: one token for all of it but health."""

from hmac import compare_digest
from typing import Any, Final

from polyforge.dialects import oip
from polyforge.kernel.errors import NotFound, PolyforgeError, Unauthenticated
from polyforge.serving.api import OipApp, Receive, Scope, Send

_HEALTH: Final = "/v2/health/"
_OWN: Final = "/v2/repository/polyforge/"
"""What only our own gateway asks."""
_BEARER: Final = b"bearer "


class Guard:
    """Lets those through who show the token, as `Authorization: Bearer ...` or `x-api-key: ...`; None: everybody."""

    def __init__(self, app: OipApp, token: str | None) -> None:
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await _refuse(refusal, send)

    def _refusal(self, scope: Scope) -> PolyforgeError | None:
        path: str = scope["path"]
        if path.startswith(_OWN):
            return NotFound("Not Found")
        if self._token is None or path.startswith(_HEALTH):
            return None
        shown = _shown(scope["headers"])
        if shown is not None and compare_digest(shown, self._token):
            return None
        return Unauthenticated("show this model host's token: `Authorization: Bearer ...`")


def _shown(headers: Any) -> bytes | None:
    for name, value in headers:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip()
        if name == b"x-api-key":
            return value.strip()
    return None


async def _refuse(error: PolyforgeError, send: Send) -> None:
    body = oip.encode_error(error)
    headers = [(b"content-type", oip.JSON_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
