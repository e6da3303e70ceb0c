"""Routes of tokens: OAuth 2's token and revocation endpoints, and the exchange for who is signed in."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from polyforge.kernel.errors import Denied, Invalid, TooLarge, UnsupportedGrantType
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.people.records import Session
from polyforge.tenancy.people.tokens.parameters import MAX_BODY_BYTES, client_of, parameters_of
from polyforge.tenancy.people.tokens.schemas import NewTokens, TokenAnswer
from polyforge.tenancy.people.tokens.service import Issued, TokenService
from polyforge.tenancy.permission import Open, SignedIn

EXCHANGE_PATH: Final = "/api/v1/auth/token"
REVOKE_PATH: Final = "/api/v1/auth/revoke"
OAUTH_PATHS: Final = frozenset({EXCHANGE_PATH, REVOKE_PATH})
"""Where bodies are forms and errors look as OAuth 2 has them."""

Anybody = Annotated[Origin, Depends(Open())]
Somebody = Annotated[Caller, Depends(SignedIn())]
_FORM: Final = "application/x-www-form-urlencoded"


def _form(fields: Mapping[str, str]) -> dict[str, Any]:
    """How OpenAPI describes a form of texts; only the first is always needed."""
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "properties": properties, "required": [next(iter(fields))]}
    return {"requestBody": {"required": True, "content": {_FORM: {"schema": schema}}}}


_GRANT: Final = _form(
    {
        "grant_type": "`client_credentials` or `refresh_token`.",
        "client_id": "A service account's id; may come by HTTP Basic.",
        "client_secret": "A service account's secret; may come by HTTP Basic.",
        "refresh_token": "A refresh token, which is used up.",
        "scope": "Permissions with spaces between, to narrow the token to.",
    }
)
_REVOCATION: Final = _form({"token": "A refresh token, or a user's access token."})


def router(tokens: TokenService) -> APIRouter:
    """The routes of tokens."""
    routes = APIRouter(tags=["tokens"])

    @routes.post(
        EXCHANGE_PATH,
        response_model_exclude_none=True,
        openapi_extra=_GRANT,
    )
    async def get_token(origin: Anybody, request: Request, response: Response) -> TokenAnswer:
        """Exchange a service account's secret, or a refresh token, for an access token (RFC 6749)."""
        given = await _parameters(request)
        _keep_nowhere(response)
        return _answer(await _granted(tokens, request.headers.get("authorization"), given, origin))

    @routes.post(REVOKE_PATH, status_code=200, response_class=Response, openapi_extra=_REVOCATION)
    async def revoke_token(origin: Anybody, request: Request) -> Response:
        """End a token and all that came from the same sign-in (RFC 7009)."""
        given = await _parameters(request)
        await tokens.revoke(_required(given, "token"), origin)
        return Response(status_code=200)

    @routes.post("/api/v1/me/tokens", status_code=201, response_model_exclude_none=True)
    async def make_tokens(
        caller: Somebody, request: Request, response: Response, body: NewTokens | None = None
    ) -> TokenAnswer:
        """Give an API client an access token and a refresh token of your own. Needs a session, not a token."""
        session: Session | None = getattr(request.state, "session", None)
        if session is None:
            raise Denied("sign in with a session to make tokens; a key or a token cannot make others")
        _keep_nowhere(response)
        return _answer(await tokens.issue(caller, session.id, body.project_id if body else None))

    return routes


async def _granted(tokens: TokenService, authorization: str | None, given: dict[str, str], origin: Origin) -> Issued:
    grant = _required(given, "grant_type")
    if grant == "client_credentials":
        client_id, secret = client_of(authorization, given)
        return await tokens.for_client(client_id, secret, origin, given.get("scope"))
    if grant == "refresh_token":
        return await tokens.refresh(_required(given, "refresh_token"), origin, given.get("scope"))
    raise UnsupportedGrantType("use client_credentials or refresh_token", param="grant_type")


async def _parameters(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"at most {MAX_BODY_BYTES} bytes are taken")
    return parameters_of(body, request.headers.get("content-type", _FORM))


def _required(given: dict[str, str], name: str) -> str:
    value = given.get(name)
    if not value:
        raise Invalid(f"{name} is missing", param=name)
    return value


def _keep_nowhere(response: Response) -> None:
    """RFC 6749 section 5.1."""
    response.headers["cache-control"] = "no-store"
    response.headers["pragma"] = "no-cache"


def _answer(issued: Issued) -> TokenAnswer:
    return TokenAnswer(
        access_token=issued.access_token,
        expires_in=issued.expires_in,
        refresh_token=issued.refresh_token,
        scope=issued.scope,
    )
