"""Which address a URL that somebody else chose may be called at: a public one, looked up once and then pinned.

Without the pin, a name could mean a public address while it is checked and a private one when it is called.
"""

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from polyforge.kernel.errors import Denied, Unavailable

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
