"""Access tokens, pure: JSON Web Tokens in the profile of RFC 9068, signed with Ed25519 (RFC 8037) and nothing else.

The header is read with a type that knows three members and one algorithm, before any key is chosen. A token that names
another algorithm, or brings or points to a key of its own (`jwk`, `jku`, `x5u`), is therefore refused without being
looked at any further.
"""

import base64
import binascii
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from polyforge.kernel.errors import Unauthenticated
from polyforge.tenancy import keys

TTL_SECONDS: Final = 15 * 60
LEEWAY_SECONDS: Final = 30
"""How far the clocks of two machines may be apart."""
MAX_TOKEN_BYTES: Final = 2_048
TOKEN_MARK: Final = keys.JWT_MARK.encode()
ALGORITHM: Final = "EdDSA"
TYPE: Final = "at+jwt"

PrincipalKind = Literal["user", "service"]
_jws: Final = PyJWS()


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says; times are whole seconds since the epoch."""

    iss: str
    aud: str
    sub: str
    """The id of the user or the service account."""
    client_id: str
    iat: int
    nbf: int
    exp: int
    jti: str
    kind: PrincipalKind
    project: str
    family: str | None = None
    """The refresh tokens that it came with; it ends with them."""
    scope: str | None = None
    """Permissions with spaces between that it is narrowed to; None: all that its principal has."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["EdDSA"]
    typ: Literal["at+jwt"]
    kid: str


def sign(claims: Claims, kid: str, key: Ed25519PrivateKey) -> str:
    """The token."""
    return _jws.encode(msgspec.json.encode(claims), key, ALGORITHM, {"typ": TYPE, "kid": kid})


def kid_of(token: bytes) -> str:
    """The id of the key that a token says it is signed with; Unauthenticated when it is no access token of ours."""
    if len(token) > MAX_TOKEN_BYTES:
        raise _unreadable()
    head = token.partition(b".")[0]
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)), type=_Header).kid
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable() from error


def verify(token: bytes, key: Ed25519PublicKey, issuer: str, now: float) -> Claims:
    """What a token says, once its signature, issuer, audience and times are right; Unauthenticated otherwise."""
    kid_of(token)
    try:
        claims = msgspec.json.decode(_jws.decode(token, key, [ALGORITHM]), type=Claims)
    except (PyJWTError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable() from error
    if claims.iss != issuer or claims.aud != issuer:
        raise Unauthenticated("this access token is for another server")
    if claims.exp + LEEWAY_SECONDS <= now:
        raise Unauthenticated("this access token has expired; use the refresh token")
    if max(claims.nbf, claims.iat) - LEEWAY_SECONDS > now or claims.exp - claims.iat > TTL_SECONDS:
        raise Unauthenticated("this access token is not valid at this time")
    return claims


def _unreadable() -> Unauthenticated:
    return Unauthenticated("this is not an access token of this server")
