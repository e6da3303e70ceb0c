"""How OAuth 2 clients send parameters, pure: as a form, or as JSON because that is what everything else here takes."""

import base64
import binascii
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from polyforge.kernel.errors import Invalid, InvalidClient

MAX_BODY_BYTES: Final = 16 * 1024
_MOST: Final = 20
_json: Final = msgspec.json.Decoder(dict[str, str])


def parameters_of(body: bytes, content_type: str) -> dict[str, str]:
    """The parameters in a body; Invalid when they cannot be read, or one comes twice (RFC 6749 section 3.2)."""
    if content_type.partition(";")[0].strip().lower() == "application/json":
        return _from_json(body)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST)
    except ValueError as error:
        raise Invalid("the body is not a form; send `application/x-www-form-urlencoded` or JSON") from error
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Invalid("a parameter comes more than once")
    return found


def _from_json(body: bytes) -> dict[str, str]:
    try:
        return _json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("the body is not a JSON object of texts") from error


def client_of(authorization: str | None, parameters: dict[str, str]) -> tuple[str, str]:
    """The id and secret of a client, from HTTP Basic or from the parameters (RFC 6749 section 2.3.1).

    InvalidClient when there are none, Invalid when both are used.
    """
    in_body = "client_secret" in parameters
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        if in_body:
            raise Invalid("give the client secret once: in the header or in the body", param="client_secret")
        return _basic(encoded.strip())
    if not in_body or not parameters.get("client_id"):
        raise InvalidClient("give client_id and client_secret, in the body or as HTTP Basic")
    return parameters["client_id"], parameters["client_secret"]


def _basic(encoded: str) -> tuple[str, str]:
    try:
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidClient("the Authorization header is not HTTP Basic") from error
    if not colon:
        raise InvalidClient("the Authorization header is not HTTP Basic")
    return unquote_plus(client_id), unquote_plus(secret)
