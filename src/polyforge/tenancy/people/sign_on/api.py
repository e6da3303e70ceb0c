"""Routes of single sign-on: a browser goes through them, so two of them answer with redirects."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Origin
from polyforge.tenancy.people.cookies import SessionCookie
from polyforge.tenancy.people.sessions import LONGEST_SECONDS
from polyforge.tenancy.people.sign_on.schemas import SignOnProviderList, SignOnProviderView
from polyforge.tenancy.people.sign_on.service import (
    MAX_RETURN_CHARACTERS,
    SIGN_ON_SECONDS,
    START,
    Return,
    SignOnCookie,
    SignOnService,
)
from polyforge.tenancy.permission import Open

Anybody = Annotated[Origin, Depends(Open())]
SIGN_IN_PAGE: Final = "/sign-in"
_log = get_logger(__name__)
Text = Annotated[str | None, Query(max_length=4_000)]


def router(sign_on: SignOnService, session_cookie: SessionCookie, cookie: SignOnCookie) -> APIRouter:
    """The routes of single sign-on."""
    routes = APIRouter(tags=["sign-in"])

    @routes.get("/api/v1/auth/providers")
    async def list_providers(origin: Anybody) -> SignOnProviderList:
        """The identity providers that people may sign in with."""
        return SignOnProviderList(data=provider_views(sign_on))

    @routes.get(START + "/{provider}", status_code=303, response_class=Response)
    async def begin_sign_on(
        origin: Anybody,
        request: Request,
        provider: str,
        return_to: Annotated[str, Query(max_length=MAX_RETURN_CHARACTERS)] = "/",
    ) -> Response:
        """Go to an identity provider to sign in; afterwards the browser is sent to `return_to`, a path of ours.

        Where it does not work, a browser is sent to /sign-in?error=CODE, and others get the problem itself.
        """
        try:
            address, state = await sign_on.begin(provider, return_to, origin)
        except PolyforgeError as error:
            return _back_to_sign_in(request, error)
        return _redirect(address, cookie.issued(state, SIGN_ON_SECONDS))

    @routes.get(START + "/{provider}/callback", status_code=303, response_class=Response)
    async def finish_sign_on(
        origin: Anybody,
        request: Request,
        provider: str,
        state: Text = None,
        code: Text = None,
        error: Text = None,
        iss: Text = None,
    ) -> Response:
        """Where the identity provider sends people back to: signs them in.

        Where it does not work, a browser is sent to /sign-in?error=CODE, and others get the problem itself.
        """
        bound = cookie.read(request.headers.get("cookie", "").encode("latin-1"))
        try:
            token, return_to = await sign_on.finish(provider, Return(state, code, error, iss), bound, origin)
        except PolyforgeError as refusal:
            return _back_to_sign_in(request, refusal, cookie.cleared())
        return _redirect(return_to, session_cookie.issued(token, LONGEST_SECONDS), cookie.cleared())

    return routes


def provider_views(sign_on: SignOnService) -> list[SignOnProviderView]:
    """The identity providers, as a sign-in page shows them."""
    return [
        SignOnProviderView(name=name, label=provider.settings.label or name, start=f"{START}/{name}")
        for name, provider in sign_on.providers.items()
    ]


def _back_to_sign_in(request: Request, error: PolyforgeError, *cookies: str) -> Response:
    """The sign-in page, which says in its own words what went wrong; raises for who asked for no page."""
    if "text/html" not in request.headers.get("accept", ""):
        raise error
    _log.info("a sign-on did not work", code=error.code, reason=error.message)
    return _redirect(f"{SIGN_IN_PAGE}?{urlencode({'error': error.code})}", *cookies)


def _redirect(where: str, *cookies: str) -> Response:
    response = Response(status_code=303)
    response.headers["location"] = where
    response.headers["cache-control"] = "no-store"
    # The address of this page holds a code.
    response.headers["referrer-policy"] = "no-referrer"
    for value in cookies:
        response.headers.append("set-cookie", value)
    return response
