"""What is kept of declared sections: the same for the same, and no secret."""

from typing import Any

import pytest

from polyforge.operations.configuration.content import Digests, decode, encode, is_masked, mask, sections_of
from polyforge.secrets.sealing import MasterKeys

SECRET = "written-out-1234567890"
OLD, NEW = bytes(range(32)), bytes(range(1, 33))


def provider(**fields: Any) -> dict[str, Any]:
    return {"models": {}, "providers": {"lab": {"use": "openai", **fields}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"x-api-key": SECRET}},
        {"base_url": f"https://user:{SECRET}@host/v1"},
        {"accounts": [{"token": SECRET}]},
        {"note": f"the key is sk-{SECRET}"},
        {"credentials": SECRET},
    ],
)
def test_a_secret_that_is_written_out_is_masked_wherever_it_stands(fields: dict[str, Any]) -> None:
    sections = provider(**fields)
    masked = mask(sections, {("providers", "lab", "credentials")})
    assert SECRET not in encode(masked)
    assert is_masked(masked)
    assert not is_masked(sections)
    assert masked["providers"]["lab"]["use"] == "openai"


@pytest.mark.parametrize("reference", ["env:LAB_KEY", "file:/run/key", "secret:lab"])
def test_references_stay_and_so_does_what_is_no_secret(reference: str) -> None:
    sections = provider(api_key=reference, output_limit_field="max_tokens", max_connections=5, base_url="http://h:1/v1")
    assert mask(sections, {("providers", "lab", "api_key")}) == sections
    assert decode(encode(sections)) == sections


def test_a_model_may_be_called_like_a_secret() -> None:
    sections = {"models": {"token": {"task": "chat"}}, "providers": {}}
    assert mask(sections, ()) == sections


def test_sections_that_are_missing_or_empty_are_the_same() -> None:
    assert sections_of({"server": {"port": 1}, "models": None}) == {"models": {}, "providers": {}}


def test_the_digest_tells_contents_apart_by_their_secrets_too() -> None:
    digests = Digests(MasterKeys([NEW]))
    one, same, other = provider(api_key="a", use="x"), provider(use="x", api_key="a"), provider(api_key="b", use="x")
    assert digests.match(same, digests.of(one))
    assert not digests.match(other, digests.of(one))
    assert encode(mask(one, ())) == encode(mask(other, ()))


def test_a_digest_holds_after_a_new_master_key_and_says_nothing_without_it() -> None:
    sections = provider(api_key="a")
    before = Digests(MasterKeys([OLD])).of(sections)
    assert Digests(MasterKeys([NEW, OLD])).match(sections, before)
    assert not Digests(MasterKeys([NEW])).match(sections, before)
