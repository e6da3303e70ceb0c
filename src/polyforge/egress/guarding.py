"""Which address a URL that somebody else chose may be called at: a public one, looked up once and then pinned.

Without the pin, a name could mean a public address while it is checked and a private one when it is called.
"""

import asyncio
import socket
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from polyforge.kernel.errors import Denied, NotConfigured, Unavailable

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""What stands for an IPv4 address behind a translator (RFC 6052)."""
_LOOK_UP_SECONDS: Final = 10.0


async def public_address(host: str, port: int, allowed: Iterable[str] = ()) -> str:
    """The IP address to call `host` at; Denied when one of its addresses is private, Unavailable when it has none.

    Hosts in `allowed` may be anywhere.
    """
    addresses = await _look_up(host, port)
    if host.lower() not in {name.lower() for name in allowed} and not all(map(_is_public, addresses)):
        raise Denied(f"{host} is in a private network; allow it in the settings, or use another address")
    return addresses[0]


class Guard:
    """Where those may call who are not trusted with addresses: public ones, and what `allow` names.

    Its entries are names of hosts, addresses, and networks in CIDR notation.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._hosts: set[str] = set()
        self._networks = [network for entry in allow if (network := self._network(entry)) is not None]

    def _network(self, entry: str) -> IPv4Network | IPv6Network | None:
        try:
            return ip_network(entry)
        except ValueError:
            self._hosts.add(entry.lower())
            return None

    async def address(self, host: str, port: int) -> str:
        """The IP address to call `host` at; Denied when it may not be called, Unavailable when there is none."""
        addresses = await _look_up(host, port)
        if host.lower().rstrip(".") not in self._hosts and not all(map(self._permits, addresses)):
            raise Denied(
                f"{host} is in a private network; the operator can allow it under `egress.allow` in polyforge.yaml"
            )
        return addresses[0]

    async def pinned(self, host: str, port: int) -> str:
        """The same for a connection about to be made, where a refusal is nothing that the caller of a model did."""
        try:
            return await self.address(host, port)
        except Denied as error:
            raise NotConfigured(error.message) from error

    def _permits(self, text: str) -> bool:
        address = ip_address(text.partition("%")[0])
        inner = _embedded(address) if isinstance(address, IPv6Address) else None
        return _is_public(text) or any((inner or address) in network for network in self._networks)


_current: ContextVar[Guard | None] = ContextVar("guard", default=None)


@contextmanager
def guarded(guard: Guard) -> Generator[None]:
    """Clients that are made within connect only to where `guard` lets them, as long as they live."""
    token = _current.set(guard)
    try:
        yield
    finally:
        _current.reset(token)


def guard_of_clients() -> Guard | None:
    """What limits a client that is made now; None: nothing does, its address is trusted."""
    return _current.get()


async def _look_up(host: str, port: int) -> list[str]:
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise Unavailable(f"the address of {host} cannot be found") from error
    return [str(each[4][0]) for each in found]


def _is_public(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    inner = _embedded(address) if isinstance(address, IPv6Address) else None
    address = inner or address
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
