from pathlib import Path
from typing import Any

import pytest

from polyforge.cli.client import ApiClient, explain, find_key, is_loopback, segment
from polyforge.cli.errors import CommandError

LOCAL = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("status", "answer", "line"),
    [
        (404, {"status": 404, "title": "Not Found", "detail": "there is no key K"}, "there is no key K"),
        (400, {"error": {"message": "name: too long", "code": "invalid_request"}}, "name: too long"),
        (401, {"detail": "no key"}, "no key; run `polyforge login`, pass --key, or set POLYFORGE_API_KEY"),
        (403, {"detail": "lacks a scope"}, "lacks a scope"),
        (500, {"detail": "went wrong", "request_id": "R"}, "went wrong (request R)"),
        (409, {"detail": "revoked", "request_id": "R"}, "revoked"),
        (502, ["odd"], "the gateway answered 502"),
    ],
)
def test_an_error_of_the_api_is_one_line_that_says_what_to_do(status: int, answer: Any, line: str) -> None:
    assert explain(status, answer) == line


def test_the_given_key_wins_over_the_environment_over_the_folder(tmp_path: Path) -> None:
    (tmp_path / "admin.key").write_text("from-file\n")
    both = {"POLYFORGE_API_KEY": "from-env", "POLYFORGE_ADMIN_KEY": "admin", "POLYFORGE_DATA": str(tmp_path)}
    assert find_key(LOCAL, "given", None, both) == "given"
    assert find_key(LOCAL, None, None, both) == "from-env"
    assert find_key(LOCAL, None, None, {**both, "POLYFORGE_API_KEY": ""}) == "admin"
    assert find_key(LOCAL, None, None, {"POLYFORGE_DATA": str(tmp_path)}) == "from-file"
    assert find_key(LOCAL, None, str(tmp_path), {}) == "from-file"
    assert find_key(LOCAL, None, str(tmp_path / "nowhere"), {}) is None


def test_the_admin_key_of_this_machine_is_not_sent_to_another(tmp_path: Path) -> None:
    (tmp_path / "admin.key").write_text("from-file")
    assert find_key("https://gateway.example.org", None, str(tmp_path), {}) is None
    assert find_key("http://[::1]:8080", None, str(tmp_path), {}) == "from-file"


@pytest.mark.parametrize("url", ["gateway:8080", "ftp://gateway", "http://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(CommandError, match="not an address"):
        ApiClient(url, None)


@pytest.mark.parametrize("key", ["pf-a b", "pf-a\r\nx-more: 1", "pf-\x00", "pf-中", "pf-ä"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(CommandError, match="copy it again") as refused:
        ApiClient(LOCAL, key)
    assert key not in str(refused.value)


def test_a_line_break_behind_a_key_is_no_part_of_it() -> None:
    assert find_key(LOCAL, None, None, {"POLYFORGE_API_KEY": "pf-a\n"}) == "pf-a"
    assert find_key(LOCAL, " ", None, {"POLYFORGE_API_KEY": "\n", "POLYFORGE_ADMIN_KEY": "pf-b"}) == "pf-b"


def test_a_name_is_one_segment_of_a_path() -> None:
    assert segment("../keys?x=1#y") == "..%2Fkeys%3Fx%3D1%23y"


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org", ""]))
