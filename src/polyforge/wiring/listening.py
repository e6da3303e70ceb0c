"""Who may call what listens, and the listeners beside HTTP, which serve the same application."""

from typing import Any, Final

from polyforge.kernel.errors import SettingsError
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen, ServerSettings, Settings

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def token_of(settings: Settings) -> str | None:
    """What callers of a model host without a gateway show; SettingsError when other machines could call it freely."""
    server, token = settings.server, settings.serving.token
    if token is None and (server.behind_proxy or server.host not in _LOOPBACK):
        raise SettingsError(
            "serving.token: other machines can reach this model host, which runs without a gateway and its keys; "
            "set a token that callers show"
        )
    return None if token is None else token.reveal()


def grpc_listener(settings: Settings, app: Any, *, shared: bool) -> Any | None:
    """What serves an application over gRPC once it is opened; None where no port is set.

    `shared`: several processes listen on the port.
    """
    server = settings.server
    if server.grpc_port is None:
        return None
    chosen = Chosen.model_validate({"use": "grpc", **_listening(server, settings.serving.max_request_bytes, shared)})
    listener, listener_settings = adapters.find("listeners", "server.grpc_port", chosen)
    return listener(listener_settings, app)


def _listening(server: ServerSettings, max_bytes: int, shared: bool) -> dict[str, Any]:
    files = {} if server.tls is None else {"cert": server.tls.cert, "key": server.tls.key}
    return {"host": server.host, "port": server.grpc_port, "shared": shared, "max_message_bytes": max_bytes, **files}
