"""Requests of browsers: the session's cookie as a way to say who calls, and what keeps other sites from using it.

A browser sends the cookie along whoever wrote the page, so a change needs proof that the page is ours: its origin,
which the browser tells, and a value that we have told our own page only. Both are asked for, as OWASP's Cross-Site
Request Forgery Prevention has them: the origin or the fetch metadata, and a token that is an HMAC of the session.
"""

from typing import Final
from urllib.parse import urlsplit

from polyforge.kernel.errors import Denied
from polyforge.server.http import RawHeaders, Scope, header
from polyforge.tenancy.people.cookies import CSRF_HEADER, PROJECT_HEADER, CsrfKey, SessionCookie
from polyforge.tenancy.people.records import Session
from polyforge.tenancy.people.sessions import Sessions, SignedInSession

PREFIX: Final = "/api/"
"""The cookie counts here and nowhere else: programs call models with keys."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OURS: Final = frozenset({b"same-origin"})
_OURS_OR_TYPED: Final = frozenset({b"same-origin", b"none"})
_CSRF: Final = CSRF_HEADER.encode()
_PROJECT: Final = PROJECT_HEADER.encode()


class Browser:
    """Finds the session of a request, and refuses what another site made the browser send.

    `site` is our public address; behind a proxy, what the proxy says of the scheme is believed.
    """

    def __init__(
        self, sessions: Sessions, cookie: SessionCookie, csrf: CsrfKey, *, site: str, tls: bool, behind_proxy: bool
    ) -> None:
        self._sessions = sessions
        self._cookie = cookie
        self._csrf = csrf
        parts = urlsplit(site)
        self._site = f"{parts.scheme}://{parts.netloc}".lower().encode()
        self._tls = tls
        self._behind_proxy = behind_proxy

    async def session(self, scope: Scope) -> SignedInSession | None:
        """The session that the cookie of a request says, None without one.

        Unauthenticated when it is over, Denied for a change that may come from another site.
        """
        token = self._cookie.read(header(scope["headers"], b"cookie")) if scope["path"].startswith(PREFIX) else None
        if token is None:
            return None
        project = header(scope["headers"], _PROJECT)
        found = await self._sessions.authenticate(token, None if project is None else project.decode("latin-1"))
        if scope["method"] not in _SAFE:
            self._require_own_page(scope, found.session)
        return found

    def refuse_other_sites(self, scope: Scope) -> None:
        """Denied for a change that a browser sends for another site; programs, which do not say, may pass.

        Otherwise another site could sign its visitors in as somebody of its choice.
        """
        if scope["method"] in _SAFE:
            return
        origin = header(scope["headers"], b"origin")
        fetch_site = header(scope["headers"], b"sec-fetch-site")
        if origin is not None and not self._is_ours(scope, origin):
            raise _foreign()
        if origin is None and fetch_site is not None and fetch_site not in _OURS_OR_TYPED:
            raise _foreign()

    def _require_own_page(self, scope: Scope, session: Session) -> None:
        headers: RawHeaders = scope["headers"]
        origin = header(headers, b"origin")
        ours = header(headers, b"sec-fetch-site") in _OURS if origin is None else self._is_ours(scope, origin)
        if not ours:
            raise _foreign()
        proof = header(headers, _CSRF)
        if proof is None or not self._csrf.matches(session.hash, proof.decode("latin-1")):
            raise Denied(f"send the value `csrf` of GET /api/v1/me in the header {CSRF_HEADER}")

    def _is_ours(self, scope: Scope, origin: bytes) -> bool:
        origin = origin.lower()
        host = header(scope["headers"], b"host") or b""
        return origin in (self._site, self._scheme(scope) + b"://" + host.lower())

    def _scheme(self, scope: Scope) -> bytes:
        if self._behind_proxy:
            told = header(scope["headers"], b"x-forwarded-proto")
            return b"https" if told is None else told.rpartition(b",")[2].strip().lower()
        return b"https" if self._tls else b"http"


def _foreign() -> Denied:
    return Denied("this request comes from another site")
