"""No secret is ever written."""

import pytest

from polyforge.telemetry.masking import MASK, mask_fields, mask_keys, mask_text, names_secret

KEY = "pf-" + "aB3_-" * 8 + "xyz"


@pytest.mark.parametrize(
    "name",
    ["authorization", "Authorization", "api_key", "X-Api-Key", "key", "password", "secret", "token", "admin_token"],
)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["key_id", "tokens", "input_tokens", "keys", "secretary", "model"])
def test_names_of_other_things(name: str) -> None:
    assert not names_secret(name)


def test_fields_are_masked_at_any_depth_and_numbers_are_not() -> None:
    fields = {"a": [{"headers": {"Authorization": "Bearer abc"}}], "password": "x", "first_token": 60, "token": None}
    assert mask_fields(fields) == {
        "a": [{"headers": {"Authorization": MASK}}],
        "password": MASK,
        "first_token": 60,
        "token": None,
    }


def test_a_structure_that_contains_itself_is_cut_off() -> None:
    loop: dict[str, object] = {}
    loop["again"] = loop
    assert "..." in str(mask_fields(loop))


@pytest.mark.parametrize("secret", [KEY, KEY.replace("pf-", "pfs-"), "sk-proj-abcdefghijkl", "sk-1234567890"])
def test_keys_are_masked_wherever_they_stand(secret: str) -> None:
    assert secret not in mask_keys(f"/v1/{secret}/x?k={secret}")
    assert secret.encode() not in mask_text(f'{{"event":"refused {secret}."}}'.encode())


def test_the_shown_prefix_of_a_key_and_ordinary_words_stay() -> None:
    assert mask_keys(KEY[:10]) == KEY[:10]
    assert mask_keys("risk-assessment of task-12345678") == "risk-assessment of task-12345678"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://app:hunter2@db:5432/x failed", "postgresql://app:********@db:5432/x failed"),
        ("Authorization: Bearer abcdef.123456", "Authorization: Bearer ********"),
        ("basic understanding of http://host/path", "basic understanding of http://host/path"),
    ],
)
def test_passwords_in_urls_and_bearer_tokens(text: str, masked: str) -> None:
    assert mask_text(text.encode()) == masked.encode()
