"""What a route of the platform needs, declared on the route, where a test finds it."""

from fastapi import Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from polyforge.kernel.errors import Unauthenticated
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.policy import LEVELS, authorize


class Permission(SecurityBase):
    """The permission that a route needs, as a dependency that gives the caller; every route of /api has exactly one.

    The caller is what the server's middleware put into `request.state.caller`. Unauthenticated without one, Denied when
    its key lacks the scope.
    """

    def __init__(self, name: str) -> None:
        if name not in LEVELS:
            raise ValueError(f"there is no permission {name!r}")
        self.name = name
        self.model = HTTPBearer(description="An API key.")
        self.scheme_name = "api_key"

    async def __call__(self, request: Request) -> Caller:
        """The caller of a request."""
        caller = _caller_of(request)
        authorize(caller, self.name)
        return caller


class Open:
    """For the ways in: nobody has signed in yet. Such routes lie under /api/v1/auth/, and nothing else does."""

    name = None

    async def __call__(self, request: Request) -> Origin:
        """Where the request came from."""
        return request.state.origin


class SignedIn(SecurityBase):
    """For routes about the caller alone, such as who it is: needs no permission, only a caller."""

    name = None

    def __init__(self) -> None:
        self.model = HTTPBearer(description="An API key.")
        self.scheme_name = "api_key"

    async def __call__(self, request: Request) -> Caller:
        """The caller of a request."""
        return _caller_of(request)


def _caller_of(request: Request) -> Caller:
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        raise Unauthenticated("give an API key: `Authorization: Bearer pf-...`")
    return caller
