"""Whether a delivery comes from who knows the secret. Pure.

Signatures are those of https://www.standardwebhooks.com: HMAC-SHA256 over `id.timestamp.body`, so that neither the id
nor the time of a delivery can be changed, and an old one cannot be sent again.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from polyforge.flows.triggers.records import Auth
from polyforge.flows.triggers.tables import DELIVERY_LENGTH
from polyforge.kernel.errors import Invalid, Unauthenticated

ID_HEADER: Final = "webhook-id"
TIME_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
IDEMPOTENCY_HEADER: Final = "idempotency-key"
TOLERANCE_SECONDS: Final = 300
SHORTEST_SECRET: Final = 16
_VERSION: Final = "v1,"
_ENCODED: Final = "whsec_"
_MOST_SIGNATURES: Final = 10
_ID: Final = re.compile(rf"[\x21-\x7e]{{1,{DELIVERY_LENGTH}}}")
_TIME: Final = re.compile(r"[0-9]{1,12}")

Headers = Mapping[str, str]
"""By lower-case name."""


def signed(secret: str, delivery: str, timestamp: int, body: bytes) -> str:
    """The signature of a delivery, as its header has it."""
    content = f"{delivery}.{timestamp}.".encode() + body
    return _VERSION + base64.b64encode(hmac.digest(_key(secret), content, sha256)).decode()


def check(auth: Auth, secret: str, headers: Headers, body: bytes, now: float) -> str | None:
    """The id of a delivery that is right, None where it has none; Unauthenticated says what is missing or wrong."""
    if auth == "bearer":
        _check_bearer(secret, headers)
        return _told_id(headers)
    return _check_signature(secret, headers, body, now)


def check_secret(secret: str) -> None:
    """ValueError says why a secret will not do."""
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(f"the secret has fewer than {SHORTEST_SECRET} characters; take a long random one")
    try:
        key = _key(secret)
    except Unauthenticated as error:
        raise ValueError(error.message) from error
    if len(key) < SHORTEST_SECRET:
        raise ValueError(f"what follows `{_ENCODED}` stands for fewer than {SHORTEST_SECRET} bytes")


def _check_bearer(secret: str, headers: Headers) -> None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(_sent(token.strip()), secret.encode()):
        raise Unauthenticated("send the secret of this trigger: `Authorization: Bearer ...`")


def _check_signature(secret: str, headers: Headers, body: bytes, now: float) -> str:
    delivery, timestamp = headers.get(ID_HEADER, ""), headers.get(TIME_HEADER, "")
    if not _ID.fullmatch(delivery) or not _TIME.fullmatch(timestamp):
        raise Unauthenticated(f"sign the delivery: {ID_HEADER}, {TIME_HEADER} and {SIGNATURE_HEADER} belong to it")
    wanted = signed(secret, delivery, int(timestamp), body).encode()
    # A secret that is being replaced has its sender sign twice.
    given = headers.get(SIGNATURE_HEADER, "").split(" ")[:_MOST_SIGNATURES]
    if not any(hmac.compare_digest(_sent(each), wanted) for each in given):
        raise Unauthenticated("the signature is not that of this delivery; sign `id.timestamp.body` with the secret")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise Unauthenticated(f"the delivery is more than {TOLERANCE_SECONDS} seconds old; set the clock of the sender")
    return delivery


def _told_id(headers: Headers) -> str | None:
    told = headers.get(ID_HEADER) or headers.get(IDEMPOTENCY_HEADER)
    if told is not None and not _ID.fullmatch(told):
        raise Invalid(f"the id of a delivery has 1 to {DELIVERY_LENGTH} printable ASCII characters", param=ID_HEADER)
    return told


def _sent(value: str) -> bytes:
    """The bytes of a header, which were read as Latin-1."""
    return value.encode("latin-1", errors="replace")


def _key(secret: str) -> bytes:
    if not secret.startswith(_ENCODED):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_ENCODED), validate=True)
    except binascii.Error as error:
        raise Unauthenticated(f"what follows `{_ENCODED}` in the secret is no base64") from error
