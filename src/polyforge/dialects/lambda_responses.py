"""What Lambda functions behind an API Gateway answer with: a status, headers and a body as text.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway.html (response format).
"""

from typing import Final

import msgspec


class FunctionResponse(msgspec.Struct, rename="camel"):
    """One answer."""

    status_code: int
    body: str = ""


_response: Final = msgspec.json.Decoder(FunctionResponse)


def read_response(body: bytes) -> FunctionResponse | None:
    """The answer; None for a body that is none of this form."""
    try:
        return _response.decode(body)
    except (ValueError, RecursionError):
        return None
