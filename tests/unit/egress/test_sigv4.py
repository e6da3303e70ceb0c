"""Signature Version 4 against the vectors that AWS publishes, and against AWS's own signer."""

import datetime
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from polyforge.egress.sigv4 import AwsCredentials, AwsService, payload_hash, sign
from polyforge.kernel.hidden import Hidden

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwt"
    "hAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVX"
    "AkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
MOMENT = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC)
HOST = {"host": "example.amazonaws.com"}
LETTERS = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = {"content-type": "application/x-www-form-urlencoded"}

# https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html
VECTORS: dict[str, tuple[str, str, dict[str, str], bytes, str]] = {
    "get-vanilla": ("GET", "/", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "post-vanilla": ("POST", "/", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    "get-unreserved": (
        "GET",
        f"/{LETTERS}",
        {},
        b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-vanilla-query-order-key-case": (
        "GET",
        "/?Param2=value2&Param1=value1",
        {},
        b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-query-unreserved": (
        "GET",
        f"/?{LETTERS}={LETTERS}",
        {},
        b"",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "get-header-value-trim": (
        "GET",
        "/",
        {"my-header1": " value1", "my-header2": ' "a   b   c"'},
        b"",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-header-key-sort": (
        "POST",
        "/",
        {"my-header1": "value1"},
        b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-x-www-form-urlencoded": (
        "POST",
        "/",
        FORM,
        b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-x-www-form-urlencoded-parameters": (
        "POST",
        "/",
        {"content-type": "application/x-www-form-urlencoded; charset=utf8"},
        b"Param1=value1",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
}


def signed(
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    *,
    token: str | None = None,
    service: str = "service",
) -> dict[str, str]:
    return sign(
        method,
        target,
        {**HOST, **headers},
        payload_hash(body),
        credentials=AwsCredentials("AKIDEXAMPLE", Hidden(SECRET), None if token is None else Hidden(token)),
        service=AwsService("us-east-1", service),
        now=MOMENT.timestamp(),
    )


@pytest.mark.parametrize(("method", "target", "headers", "body", "signature"), VECTORS.values(), ids=VECTORS)
def test_the_published_vectors(method: str, target: str, headers: dict[str, str], body: bytes, signature: str) -> None:
    added = signed(method, target, headers, body)
    assert added["x-amz-date"] == "20150830T123600Z"
    names = ";".join(sorted({**HOST, **headers, "x-amz-date": ""}))
    assert added["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


def test_a_session_token_is_signed_with_the_rest() -> None:
    """The published post-sts-header-before."""
    added = signed("POST", "/", {}, b"", token=TOKEN)
    assert added["x-amz-security-token"] == TOKEN
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token, " in added["authorization"]
    assert added["authorization"].endswith("85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead")


@pytest.mark.parametrize(
    "target",
    [
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
        "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Fabc/converse-stream",
        "/endpoints/my-endpoint/invocations",
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af/invocations?Qualifier=live",
        "//a/./b/../c//",
        "/",
        "/?flag&a=2&a-b=1&a=1",
    ],
)
def test_the_same_signature_as_aws_own_signer(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_: MOMENT.replace(tzinfo=None))
    body, headers = '{"text":"wörld"}'.encode(), {"content-type": "application/json"}
    theirs: Any = AWSRequest("POST", f"https://example.amazonaws.com{target}", data=body, headers={**HOST, **headers})
    auth.SigV4Auth(Credentials("AKIDEXAMPLE", SECRET, TOKEN), "bedrock", "us-east-1").add_auth(theirs)
    ours = signed("POST", target, headers, body, token=TOKEN, service="bedrock")
    assert ours["authorization"] == theirs.headers["Authorization"]


def test_what_signs_is_never_shown() -> None:
    credentials = AwsCredentials("AKIDEXAMPLE", Hidden(SECRET), Hidden(TOKEN))
    assert SECRET not in repr(credentials)
    assert TOKEN not in repr(credentials)
