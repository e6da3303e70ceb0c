"""The form of keys."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.kernel.errors import SettingsError
from polyforge.tenancy.keys import (
    MAX_TOKEN_BYTES,
    caller_of,
    check_admin_key,
    hash_of,
    is_well_formed,
    new_secret,
    secret_of,
)
from tests.unit.tenancy.samples import api_key

BASE64URL = string.ascii_letters + string.digits + "-_"


def test_a_new_key_has_256_random_bits_and_shows_ten_characters() -> None:
    secret = new_secret()
    assert secret.value.startswith("pf-")
    assert len(base64.urlsafe_b64decode(secret.value[3:] + "=")) == 32
    assert secret.prefix == secret.value[:10]
    assert secret.hash == hash_of(secret.value.encode())
    assert is_well_formed(secret.value.encode())
    assert len({new_secret().value for _ in range(100)}) == 100


@given(st.text(BASE64URL, min_size=43, max_size=43))
def test_every_key_of_the_form_is_well_formed(body: str) -> None:
    assert is_well_formed(f"pf-{body}".encode())


@given(st.one_of(st.binary(max_size=600), st.text(BASE64URL).map(lambda body: f"pf-{body}".encode())))
def test_nothing_else_is_well_formed(token: bytes) -> None:
    is_key = len(token) == 46 and token.startswith(b"pf-") and not set(token[3:].decode("latin-1")) - set(BASE64URL)
    assert is_well_formed(token) is is_key


@pytest.mark.parametrize("suffix", ["\n", " ", "\0", "=", "é"])
def test_a_key_with_something_after_it_is_not_well_formed(suffix: str) -> None:
    assert not is_well_formed((new_secret().value + suffix).encode())


@given(st.text(string.ascii_letters + string.digits + string.punctuation, min_size=16, max_size=MAX_TOKEN_BYTES))
def test_an_admin_key_may_hold_whatever_travels_in_a_header(value: str) -> None:
    assert check_admin_key(value) == value
    assert len(secret_of(value).prefix) * 4 <= len(value)


@pytest.mark.parametrize("value", ["short", "x" * 15, "x" * (MAX_TOKEN_BYTES + 1), "x" * 20 + "\n", "é" * 20, " " * 20])
def test_an_admin_key_that_is_short_or_cannot_travel_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^admin_key: ") as refused:
        check_admin_key(value)
    assert value not in refused.value.message


def test_a_caller_has_what_the_key_says() -> None:
    key = api_key(scopes=("inference",), models=("openai/*",), rpm=1, tpm=2, concurrency=3, budget_micros=4)
    caller = caller_of(key)
    assert caller.may("inference")
    assert not caller.may("keys:write")
    assert caller.may_use("openai/gpt")
    assert not caller.may_use("other")
    limits = caller.limits
    assert (limits.rpm, limits.tpm, limits.concurrency, limits.budget, limits.period) == (1, 2, 3, 4, "total")
