"""Where clients may connect whose addresses nobody vouches for."""

import socket
from typing import Any

import pytest
from pydantic import ValidationError

from polyforge.egress.guarding import Guard, guard_of_clients, guarded
from polyforge.egress.settings import EgressSettings
from polyforge.kernel.errors import Denied, NotConfigured, Unavailable


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names mean, instead of what the machine's resolver knows."""
    known: dict[str, list[str]] = {}

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "0.0.0.0"],
)
async def test_private_and_metadata_addresses_are_refused(names: dict[str, list[str]], address: str) -> None:
    names["host"] = [address]
    with pytest.raises(Denied, match=r"egress\.allow"):
        await Guard().address("host", 80)
    with pytest.raises(NotConfigured, match=r"egress\.allow"):
        await Guard().pinned("host", 80)


async def test_one_private_address_among_public_ones_is_enough(names: dict[str, list[str]]) -> None:
    names["host"] = ["93.184.215.14", "10.0.0.1"]
    with pytest.raises(Denied):
        await Guard().address("host", 80)
    names["host"].pop()
    assert await Guard().address("host", 80) == "93.184.215.14"


@pytest.mark.parametrize("entry", ["host", "10.0.0.7", "10.0.0.0/8"])
async def test_what_is_allowed_may_be_called(names: dict[str, list[str]], entry: str) -> None:
    names |= {"host": ["10.0.0.7"], "other": ["192.168.0.1"]}
    guard = Guard(EgressSettings(allow=(entry,)).allow)
    assert await guard.address("host", 80) == "10.0.0.7"
    with pytest.raises(Denied):
        await guard.address("other", 80)


async def test_a_network_allows_what_stands_for_its_addresses(names: dict[str, list[str]]) -> None:
    names["host"] = ["::ffff:10.0.0.7"]
    assert await Guard(["10.0.0.0/8"]).address("host", 80) == "::ffff:10.0.0.7"


async def test_a_name_that_means_nothing_is_unavailable(names: dict[str, list[str]]) -> None:
    with pytest.raises(Unavailable, match="cannot be found"):
        await Guard().address("nowhere", 80)


def test_a_guard_holds_for_what_is_made_within() -> None:
    guard = Guard()
    with guarded(guard):
        assert guard_of_clients() is guard
    assert guard_of_clients() is None


@pytest.mark.parametrize("entry", ["", "http://host", "host:80", "*.host", "10.0.0.1/8", "a b"])
def test_an_entry_that_is_no_place_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError):
        EgressSettings(allow=(entry,))
