"""Bodies of requests, decoded: what is wrong with one is its caller's fault, and is named."""

from typing import Final, TypeVar

import msgspec
from typing_extensions import Buffer

from polyforge.dialects.openai_errors import explain_validation

_T = TypeVar("_T")
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_body(decoder: msgspec.json.Decoder[_T], body: Buffer) -> _T:
    """The body as it was declared; Invalid names the field that is wrong."""
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise explain_validation(error) from error


def decode_whole(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """The same for a body that will be written anew, with what nobody reads in it: Invalid where that is no UTF-8."""
    wire = decode_body(decoder, body)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise explain_validation(error) from error
    return wire


def read_fields(body: Buffer) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object; Invalid where those that nobody has read so far are no JSON or no UTF-8."""
    return decode_body(_fields, body)
