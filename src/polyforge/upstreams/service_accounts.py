"""Google's service accounts: a signed statement for an access token.

Source: RFC 7523 and https://developers.google.com/identity/protocols/oauth2/service-account#httprest.
"""

from collections.abc import Mapping
from typing import Final

import jwt
import msgspec

_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_LIFE_SECONDS: Final = 3600
_KIND: Final = "service_account"


class _KeyFile(msgspec.Struct):
    client_email: str
    private_key: str
    private_key_id: str
    type: str = _KIND


_key_file: Final = msgspec.json.Decoder(_KeyFile)


class ServiceAccount:
    """The grant of a key file, which is the secret. What it says of addresses is not listened to: the settings do."""

    def __init__(self, token_url: str) -> None:
        self._token_url = token_url

    def form(self, secret: str, now: float) -> Mapping[str, str]:
        """The statement, signed with the account's key; ValueError for what is no key file."""
        try:
            key = _key_file.decode(secret)
        except (msgspec.DecodeError, UnicodeEncodeError):
            key = None
        if key is None or key.type != _KIND:
            raise ValueError("it is not the JSON key file of a service account")
        return {"grant_type": _GRANT, "assertion": self._sign(key, int(now))}

    def _sign(self, key: _KeyFile, now: int) -> str:
        claims: dict[str, str | int] = {
            "iss": key.client_email,
            "scope": _SCOPE,
            "aud": self._token_url,
            "iat": now,
            "exp": now + _LIFE_SECONDS,
        }
        try:
            return jwt.encode(claims, key.private_key, algorithm="RS256", headers={"kid": key.private_key_id})
        except (jwt.PyJWTError, ValueError, TypeError):
            # Without its cause, which may quote the key.
            raise ValueError("its private_key is no RSA key in PEM") from None
