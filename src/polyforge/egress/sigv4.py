"""AWS Signature Version 4, in the `authorization` header.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import time
from collections.abc import Mapping
from hashlib import sha256
from hmac import digest
from typing import Final
from urllib.parse import quote

import msgspec

from polyforge.kernel.hidden import Hidden

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"
_UNRESERVED: Final = "-._~"
_S3: Final = "s3"


class AwsCredentials(msgspec.Struct, frozen=True):
    """Who signs. `session_token` belongs to credentials that are lent for some hours."""

    access_key_id: str
    secret_access_key: Hidden
    session_token: Hidden | None = None


class AwsService(msgspec.Struct, frozen=True):
    """What is signed for: a service by its signing name, in one region."""

    region: str
    name: str


def payload_hash(body: bytes) -> str:
    """What a signature says of a body."""
    return sha256(body).hexdigest()


def sign(
    method: str,
    target: str,
    headers: Mapping[str, str],
    hashed: str,
    *,
    credentials: AwsCredentials,
    service: AwsService,
    now: float,
) -> dict[str, str]:
    """The headers to send besides `headers`, each of which is signed and must arrive as it is here.

    `target` is path and query as they stand in the request line, `headers` has lower-case names and `host` among
    them, `hashed` is the body's `payload_hash`, `now` is seconds since the epoch.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    added = {"x-amz-date": moment}
    if credentials.session_token is not None:
        added["x-amz-security-token"] = credentials.session_token.reveal()
    signed = {**headers, **added}
    scope = f"{moment[:8]}/{service.region}/{service.name}/{_TERMINATOR}"
    request = canonical_request(method, target, signed, hashed, encode=service.name != _S3)
    to_sign = "\n".join((_ALGORITHM, moment, scope, payload_hash(request.encode())))
    signature = digest(_signing_key(credentials, service, moment[:8]), to_sign.encode(), sha256).hex()
    names = ";".join(sorted(signed))
    credential = f"{credentials.access_key_id}/{scope}"
    added["authorization"] = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return added


def canonical_request(method: str, target: str, headers: Mapping[str, str], hashed: str, *, encode: bool = True) -> str:
    """The request as both sides write it before they sign.

    With `encode` the path is encoded once more, as all but S3 want it, which takes it as it is.
    """
    path, _, query = target.partition("?")
    names = sorted(headers)
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in names]
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
    asked = "&".join([f"{name}={value}" for name, value in pairs])
    return "\n".join((method, _canonical_path(path) if encode else path, asked, *lines, "", ";".join(names), hashed))


def _canonical_path(path: str) -> str:
    """Without empty segments and dots (RFC 3986 section 5.2.4), but with the slash at its end."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(quote(segment, safe=_UNRESERVED))
    end = "/" if kept and path.endswith("/") else ""
    return "/" + "/".join(kept) + end


def _signing_key(credentials: AwsCredentials, service: AwsService, date: str) -> bytes:
    key = f"AWS4{credentials.secret_access_key.reveal()}".encode()
    for part in (date, service.region, service.name, _TERMINATOR):
        key = digest(key, part.encode(), sha256)
    return key
