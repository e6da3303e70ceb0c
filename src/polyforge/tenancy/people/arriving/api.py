"""Routes of who arrives at an installation: what the sign-in page shows, and the first user of all."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from polyforge import __version__
from polyforge.tenancy.callers import Origin
from polyforge.tenancy.people.arriving.schemas import AuthState, FirstUser, PasswordRules
from polyforge.tenancy.people.arriving.service import ArrivalService
from polyforge.tenancy.people.cookies import SessionCookie
from polyforge.tenancy.people.password_rules import MAX_LENGTH, MIN_LENGTH
from polyforge.tenancy.people.post import Post
from polyforge.tenancy.people.schemas import SignInView
from polyforge.tenancy.people.sessions import LONGEST_SECONDS
from polyforge.tenancy.people.sign_on.api import provider_views
from polyforge.tenancy.people.sign_on.service import SignOnService
from polyforge.tenancy.permission import Open

Anybody = Annotated[Origin, Depends(Open())]
PRODUCT: Final = "Polyforge"
_RULES: Final = PasswordRules(min_length=MIN_LENGTH, max_length=MAX_LENGTH)


def router(arrivals: ArrivalService, sign_on: SignOnService, post: Post, cookie: SessionCookie) -> APIRouter:
    """The routes of arriving."""
    routes = APIRouter(prefix="/api/v1/auth", tags=["sign-in"])

    @routes.get("/state")
    async def get_auth_state(origin: Anybody, response: Response) -> AuthState:
        """What a sign-in page offers: the first user, a password, identity providers."""
        response.headers["cache-control"] = "no-store"
        return AuthState(
            product=PRODUCT,
            version=__version__,
            first_user_needed=not await arrivals.somebody(),
            providers=provider_views(sign_on),
            email=post.mails,
            password=_RULES,
        )

    @routes.post("/first-user", status_code=201)
    async def create_first_user(origin: Anybody, body: FirstUser, response: Response) -> SignInView:
        """Make the first user with the admin key, and sign them in: sets the session's cookie. 409 once there is one.

        The first user operates the installation and owns the default organization.
        """
        token = await arrivals.first(origin, body.key, body.email, body.name, body.password)
        response.headers["set-cookie"] = cookie.issued(token, LONGEST_SECONDS)
        response.headers["cache-control"] = "no-store"
        return SignInView()

    return routes
