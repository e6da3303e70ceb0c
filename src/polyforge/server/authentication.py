"""Who calls: the one place where what a request brings along becomes a caller."""

from typing import Final

from msgspec.structs import replace

from polyforge.kernel.errors import Unauthenticated
from polyforge.server.browser import Browser
from polyforge.server.http import RawHeaders, Scope, bearer_token, first_values, header
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.people.tokens.access import TOKEN_MARK
from polyforge.tenancy.people.tokens.callers import TokenCallers

_LONGEST: Final = 300


class Authentication:
    """Resolves callers. `behind_proxy`: the address of a caller is what the proxy in front says."""

    def __init__(self, keys: KeyCache, tokens: TokenCallers, browser: Browser, *, behind_proxy: bool) -> None:
        self._keys = keys
        self._tokens = tokens
        self._browser = browser
        self._behind_proxy = behind_proxy

    async def caller(self, scope: Scope) -> Caller:
        """The caller of a request to the platform's own paths; Unauthenticated without one."""
        headers: RawHeaders = scope["headers"]
        token = bearer_token(first_values(headers))
        if token is None:
            return await self._signed_in(scope)
        known = self._tokens if token.startswith(TOKEN_MARK) else self._keys
        caller = known.lookup(token) or await known.resolve(token)
        return replace(caller, origin=self.origin(scope))

    async def _signed_in(self, scope: Scope) -> Caller:
        """The caller of a session, which is left in the request's state beside it."""
        found = await self._browser.session(scope)
        if found is None:
            raise Unauthenticated("sign in, or give an API key: `Authorization: Bearer pf-...`")
        scope.setdefault("state", {})["session"] = found.session
        return replace(found.caller, origin=self.origin(scope))

    def visitor(self, scope: Scope) -> Origin:
        """Where a request comes from that needs no caller; Denied when another site made a browser send it."""
        self._browser.refuse_other_sites(scope)
        return self.origin(scope)

    def origin(self, scope: Scope) -> Origin:
        """Where a request came from, for the audit log."""
        headers: RawHeaders = scope["headers"]
        agent = (header(headers, b"user-agent") or b"").decode("latin-1")[:_LONGEST]
        return Origin(self.address(scope), agent, scope.get("state", {}).get("request_id"))

    def address(self, scope: Scope) -> str:
        """The caller's address: the peer's, or behind a proxy the one that the proxy added last."""
        if self._behind_proxy:
            told = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            if told and told[-1]:
                return told[-1].rpartition(b",")[2].strip().decode("latin-1")[:_LONGEST]
        client = scope.get("client")
        return client[0] if client else ""
