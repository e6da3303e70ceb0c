"""ID tokens, pure: what must hold before one is believed (OpenID Connect Core 1.0, section 3.1.3.7)."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError

from polyforge.kernel.errors import UpstreamFailed

LEEWAY_SECONDS: Final = 30.0
OLDEST_SECONDS: Final = 600.0
"""A token that was just exchanged for a code was just issued."""
MAX_TOKEN_CHARACTERS: Final = 64 * 1024
_jws: Final = PyJWS()


class Head(msgspec.Struct, frozen=True):
    """Which algorithm and key a token says it is signed with; whatever else it says is not listened to."""

    alg: str
    kid: str | None = None
    crit: list[str] | None = None


class Expected(msgspec.Struct, frozen=True):
    """What a token has to say."""

    issuer: str
    client_id: str
    nonce: str
    now: float


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nonce: str
    nbf: int | float = 0
    azp: str | None = None


def head_of(token: str) -> Head:
    """The head of a token; UpstreamFailed when it has none, or says that we must understand more."""
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise _wrong("is too long, or no text")
    part = token.partition(".")[0]
    try:
        head = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=Head)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _wrong("has no head that can be read") from error
    if head.crit is not None:
        raise _wrong("needs something that is not understood here")
    return head


def verify(token: str, key: PyJWK, expected: Expected) -> Mapping[str, Any]:
    """The claims of a token, once its signature and every claim that it must have are right; UpstreamFailed else."""
    try:
        payload = _jws.decode(token, key, [key.algorithm_name])
        claims = msgspec.json.decode(payload, type=_Claims)
        everything = msgspec.json.decode(payload, type=dict[str, Any])
    except PyJWTError as error:
        raise _wrong("is not signed by it") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _wrong("lacks a claim, or has one of a wrong type") from error
    _check(claims, expected)
    return everything


def _check(claims: _Claims, expected: Expected) -> None:
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != expected.issuer:
        raise _wrong("is from another issuer")
    if expected.client_id not in audience:
        raise _wrong("is for another client")
    if claims.azp != expected.client_id and (claims.azp is not None or len(audience) > 1):
        raise _wrong("was given to another client")
    if not hmac.compare_digest(claims.nonce.encode(), expected.nonce.encode()):
        raise _wrong("is for another sign-in")
    if claims.exp + LEEWAY_SECONDS <= expected.now or claims.iat + OLDEST_SECONDS <= expected.now:
        raise _wrong("has expired")
    if max(claims.iat, claims.nbf) - LEEWAY_SECONDS > expected.now:
        raise _wrong("is from the future")
    if not 0 < len(claims.sub) <= 255:  # noqa: PLR2004 - section 2: it must not be longer
        raise _wrong("does not say whom it is about")


def _wrong(what: str) -> UpstreamFailed:
    return UpstreamFailed(f"the identity provider's answer cannot be trusted: the token {what}")
