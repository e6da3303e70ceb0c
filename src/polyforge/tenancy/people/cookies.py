"""The session's cookie (RFC 6265bis), and the proof that a page which sends it is ours."""

import hmac
from hashlib import sha256
from typing import Final

from polyforge.secrets.sealing import MasterKeys

NAME: Final = "polyforge_session"
CSRF_HEADER: Final = "x-polyforge-csrf"
PROJECT_HEADER: Final = "x-polyforge-project"
_PURPOSE: Final = "csrf"


class SessionCookie:
    """How the cookie is named, set and read. `secure`: browsers reach us over TLS, and then over nothing else."""

    def __init__(self, *, secure: bool) -> None:
        self._attributes = "Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
        # The prefix makes browsers refuse such a cookie from a subdomain or over plain HTTP.
        self.name = f"__Host-{NAME}" if secure else NAME

    def issued(self, token: str, seconds: float) -> str:
        """The value of Set-Cookie for a new session that lasts at most so long."""
        return f"{self.name}={token}; Max-Age={int(seconds)}; {self._attributes}"

    def cleared(self) -> str:
        """The value of Set-Cookie that takes the cookie away."""
        return f"{self.name}=; Max-Age=0; {self._attributes}"

    def read(self, header: bytes | None) -> str | None:
        """The token in a Cookie header; None when there is none, or more than one."""
        found = [
            value.strip()
            for name, _, value in (pair.partition("=") for pair in (header or b"").decode("latin-1").split(";"))
            if name.strip() == self.name
        ]
        return found[0] if len(found) == 1 and found[0] else None


class CsrfKey:
    """Makes and checks the value that a page must send along with the cookie, which another site cannot read."""

    def __init__(self, master: MasterKeys) -> None:
        self._keys = master.derive(_PURPOSE)

    def value(self, session_hash: bytes) -> str:
        """The value that goes with a session."""
        return hmac.digest(self._keys[0], session_hash, sha256).hex()

    def matches(self, session_hash: bytes, given: str) -> bool:
        """Whether this is the value of this session."""
        proof = given.encode()
        return any(
            hmac.compare_digest(hmac.digest(key, session_hash, sha256).hex().encode(), proof) for key in self._keys
        )
