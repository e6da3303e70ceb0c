"""Access tokens where OpenAI's client has an API key: of a service account, and of a person in a browser."""

import base64
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from openai import AuthenticationError, OpenAI

from tests.support.server import Polyforge
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.wire.conftest import HELLO

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def account(house: Polyforge) -> dict[str, Any]:
    """A service account with its secret."""
    made = house.api("POST", "/service-accounts", {"name": "robot", "role": "developer"})
    assert made.status == 201, made.body
    return made.json


def token_of(house: Polyforge, account: dict[str, Any]) -> str:
    basic = base64.b64encode(f"{account['id']}:{account['secret']}".encode()).decode()
    headers = {**FORM, "authorization": f"Basic {basic}"}
    answer = house.call("/api/v1/auth/token", body=b"grant_type=client_credentials", headers=headers)
    assert answer.status == 200, answer.body
    return answer.json["access_token"]


def call_with(house: Polyforge, token: str) -> str | None:
    with OpenAI(base_url=f"{house.url}/v1", api_key=token, max_retries=0) as client:
        return client.chat.completions.create(model="assistant", messages=HELLO).choices[0].message.content


def refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except AuthenticationError:
        return True
    return False


def test_clients_find_out_where_tokens_come_from(house: Polyforge, account: dict[str, Any]) -> None:
    described = house.call("/.well-known/oauth-authorization-server", method="GET").json
    assert described["issuer"] == house.url
    assert described["token_endpoint"] == f"{house.url}/api/v1/auth/token"
    claims = jwt.decode(token_of(house, account), options={"verify_signature": False})
    assert (claims["iss"], claims["aud"]) == (house.url, house.url)
    (published,) = house.call("/.well-known/jwks.json", method="GET").json["keys"]
    assert jwt.get_unverified_header(token_of(house, account))["kid"] == published["kid"]
    assert house.call("/.well-known/jwks.json").status == 405


def test_a_forged_token_is_no_key(house: Polyforge) -> None:
    with pytest.raises(AuthenticationError):
        call_with(house, "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0Iiwia2lkIjoiMSJ9.e30.")


def test_a_service_account_calls_models_until_it_is_disabled(
    house: Polyforge, upstream: Upstream, account: dict[str, Any]
) -> None:
    token = token_of(house, account)
    assert call_with(house, token)
    with OpenAI(base_url=f"{house.url}/v1", api_key=token, max_retries=0) as client:
        assert "assistant" in {model.id for model in client.models.list()}
    eventually(lambda: len(house.records(account["id"])) == 1, "the usage record of the account")
    assert house.api("POST", f"/service-accounts/{account['id']}/disable").status == 200
    eventually(lambda: refused(lambda: call_with(house, token)), "the refusal of a disabled account's token")


def test_a_person_gives_a_client_tokens_and_takes_them_back(house: Polyforge) -> None:
    person = {"email": "grace@example.org", "name": "Grace", "password": "a quiet river bends twice"}
    made = house.api("POST", "/users", person)
    assert made.status == 201, made.body
    signed_in = house.call("/api/v1/auth/sign-in", json={"email": person["email"], "password": person["password"]})
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    me = house.call("/api/v1/me", method="GET", headers={"cookie": cookie}).json
    ours = {"cookie": cookie, "x-polyforge-csrf": me["csrf"], "origin": house.url, "host": house.url.partition("//")[2]}
    tokens = house.call("/api/v1/me/tokens", json={}, headers=ours)
    assert tokens.status == 201, tokens.body
    assert call_with(house, tokens.json["access_token"])
    form = f"grant_type=refresh_token&refresh_token={tokens.json['refresh_token']}".encode()
    following = house.call("/api/v1/auth/token", body=form, headers=FORM)
    assert call_with(house, following.json["access_token"])
    revoked = house.call("/api/v1/auth/revoke", body=f"token={following.json['refresh_token']}".encode(), headers=FORM)
    assert revoked.status == 200
    eventually(lambda: refused(lambda: call_with(house, following.json["access_token"])), "the end of the tokens")
