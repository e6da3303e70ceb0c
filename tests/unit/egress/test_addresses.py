"""Addresses in settings."""

import pytest
from pydantic import TypeAdapter, ValidationError

from polyforge.egress.addresses import HttpBase, HttpUrl

_url: TypeAdapter[str] = TypeAdapter(HttpUrl)
_base: TypeAdapter[str] = TypeAdapter(HttpBase)
USABLE = ["http://lab:8000/v1", "https://api.example.com", "https://[::1]:8443/v1/", "http://u:p@lab/v1"]


@pytest.mark.parametrize("url", USABLE)
def test_what_a_client_can_call_stays_as_it_is(url: str) -> None:
    assert _url.validate_python(url) == _base.validate_python(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "ftp://example.com",
        "http://",
        "http://:8000/v1",
        "http://[::1",
        "http://lab:0/v1",
        "http://lab:99999/v1",
        "http://lab:eight/v1",
        "http://lab/v1\r\nx-more: yes",
        "http://lab/ v1",
        "https://bücher.example/v1",
    ],
)
def test_what_nobody_can_call_is_refused(url: str) -> None:
    for check in (_url, _base):
        with pytest.raises(ValidationError, match="must be an http:// or https:// address"):
            check.validate_python(url)


@pytest.mark.parametrize("url", ["https://lab/v1?api-version=1", "https://lab/v1?", "https://lab/v1#top"])
def test_no_path_can_be_added_to_a_query(url: str) -> None:
    assert _url.validate_python(url) == url
    with pytest.raises(ValidationError, match="without"):
        _base.validate_python(url)
