"""Addresses in flows: whether they can be called at all, and whether they plainly lead into a private network.

What a name means is looked up when it is called, by `egress`, which then refuses; nothing is looked up here.
"""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from polyforge.egress.addresses import check_url
from polyforge.flows.templates import Hole, parse_template

_LOCAL: Final = ("localhost", ".localhost", ".local", ".internal", ".home.arpa", ".lan", ".intranet", ".corp")
_ORIGIN: Final = re.compile(r"https?://[^/?#]+")
EVERYWHERE: Final = "*"


def check_address(written: str) -> None:
    """ValueError says why an address, perhaps a template, cannot be called."""
    try:
        pieces = parse_template(written)
    except ValueError:
        return  # which is said of the template
    first = pieces[0] if pieces else ""
    if isinstance(first, Hole):
        return
    origin = _ORIGIN.match(first)
    if len(pieces) > 1 and (origin is None or origin.end() == len(first)):
        raise ValueError("the host is written out, with `/` behind it, or the whole address is an input")
    check_url("".join("x" if isinstance(piece, Hole) else piece for piece in pieces))
    if "@" in urlsplit(written).netloc:
        raise ValueError("a name or password does not belong into an address; use a header with a secret")


def host_of(written: str) -> str:
    """The host of an address that can be called; `*` where an input decides."""
    return EVERYWHERE if written.lstrip().startswith("{{") else (urlsplit(written).hostname or EVERYWHERE)


def is_private(host: str) -> bool:
    """Whether a host is in a private network by its name or number; also where the number is written in another way."""
    name = host.rstrip(".").lower()
    if any(name == suffix or name.endswith(suffix) for suffix in _LOCAL):
        return True
    address = _address(name)
    if address is None:
        return "." not in name and name != EVERYWHERE
    return not address.is_global or address.is_multicast


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(name.partition("%")[0])
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(name))
        except OSError:
            return None
    inner = (found.ipv4_mapped or found.sixtofour) if isinstance(found, IPv6Address) else None
    return inner or found
