"""How OAuth 2 clients send what they have to say."""

import base64

import pytest

from polyforge.kernel.errors import Invalid, InvalidClient, PolyforgeError
from polyforge.tenancy.people.tokens.parameters import client_of, parameters_of

FORM = "application/x-www-form-urlencoded; charset=utf-8"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_forms_and_json_say_the_same() -> None:
    expected = {"grant_type": "refresh_token", "refresh_token": "a b/ü"}
    assert parameters_of(b"grant_type=refresh_token&refresh_token=a+b%2F%C3%BC", FORM) == expected
    assert (
        parameters_of('{"grant_type":"refresh_token","refresh_token":"a b/ü"}'.encode(), "Application/JSON") == expected
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=a&grant_type=b", FORM),
        (b"&".join(b"a%d=1" % number for number in range(21)), FORM),
        (b"a=\xff", FORM),
        (b"a=%ff", FORM),
        (b"[]", "application/json"),
        (b'{"a": 1}', "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
    ],
)
def test_what_cannot_be_read_or_is_said_twice_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(Invalid):
        parameters_of(body, kind)


def test_a_client_comes_by_header_or_by_body() -> None:
    assert client_of(basic("an%20id:p%3Aw+d"), {}) == ("an id", "p:w d")
    assert client_of(None, {"client_id": "i", "client_secret": "s"}) == ("i", "s")
    assert client_of("Bearer x", {"client_id": "i", "client_secret": "s"}) == ("i", "s")


@pytest.mark.parametrize(
    ("header", "parameters", "error"),
    [
        (basic("i:s"), {"client_secret": "s"}, Invalid),
        (None, {}, InvalidClient),
        (None, {"client_id": "i"}, InvalidClient),
        (None, {"client_secret": "s"}, InvalidClient),
        ("Basic !!", {}, InvalidClient),
        (basic("nothing"), {}, InvalidClient),
        ("Basic /w==", {}, InvalidClient),
    ],
)
def test_a_client_that_does_not_say_who_it_is_is_refused(
    header: str | None, parameters: dict[str, str], error: type[PolyforgeError]
) -> None:
    with pytest.raises(error):
        client_of(header, parameters)
