"""The one listening socket, which outlives every gateway, so that new connections wait while one is started again."""

import errno
import socket
from typing import Any

from polyforge.supervisor.errors import StartError

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A bound and listening TCP socket; StartError says who should move."""
    family, address = _resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(_explain(error, host, port)) from error
    return listener


def url_of(listener: socket.socket, host: str, *, tls: bool) -> str:
    """The address for people, with the port that was really bound."""
    port = listener.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}"


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartError(f"cannot resolve the host {host!r}: {error.strerror}") from error
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop the program that listens there, or pass another --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that this user does not have; pass a --port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {host}; pass another --host"
    return f"cannot listen on {host} port {port}: {error.strerror}"
