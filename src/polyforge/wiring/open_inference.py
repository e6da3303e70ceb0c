"""What a gateway knows of its model host, for callers of the Open Inference Protocol."""

from pathlib import Path
from typing import Final

from polyforge.egress.oip_client import OipClient
from polyforge.gateway.hosted import HostedModels
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import Settings

NO_SOCKET: Final = "no-model-host.sock"
"""A name that nobody listens on, where no model host runs."""


def hosted_models(settings: Settings, spec: ProcessSpec, template: str) -> HostedModels:
    """What a gateway worker asks of the model host beside inferences; `template` is the built-in model's name."""
    socket = spec.model_socket or str(Path(spec.runtime) / NO_SOCKET)
    client = OipClient(socket, max_response_bytes=settings.serving.max_request_bytes)
    return HostedModels(client, template, has_repository=settings.serving.repository is not None)
