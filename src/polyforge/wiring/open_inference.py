"""The Open Inference Protocol for callers from outside: what reaches the model host, and the gRPC listener."""

from pathlib import Path
from typing import Any

from polyforge.egress.oip_client import OipClient
from polyforge.gateway.hosted import HostedModels
from polyforge.wiring import adapters
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import Chosen, ServerSettings, Settings

NO_SOCKET = "no-model-host.sock"
"""A name that nobody listens on, where no model host runs."""


def hosted_models(settings: Settings, spec: ProcessSpec, template: str) -> HostedModels:
    """What a gateway worker asks of the model host beside inferences; `template` is the built-in model's name."""
    socket = spec.model_socket or str(Path(spec.runtime) / NO_SOCKET)
    client = OipClient(socket, max_response_bytes=settings.serving.max_request_bytes)
    return HostedModels(client, template, has_repository=settings.serving.repository is not None)


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
