"""`python -m benchmarks.serving.host SETTINGS PORT`: the model host on a TCP port instead of its Unix socket."""

import asyncio
import json
import socket
import sys
import tempfile
from pathlib import Path

import uvloop

from polyforge.telemetry.logs import configure
from polyforge.wiring.http_server import BACKLOG
from polyforge.wiring.models import ModelHost
from polyforge.wiring.settings import Settings


def main(settings_file: str, port: str) -> None:
    """Serve until SIGTERM."""
    configure("info", "models")
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=BACKLOG)
    listener.setblocking(False)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        wanted = json.loads(Path(settings_file).read_text())
        host = ModelHost(Settings.model_validate({**wanted, "data": folder}), Path(folder))
        runner.run(host.serve(listener, starting=lambda: None, ready=lambda: None))


if __name__ == "__main__":
    main(*sys.argv[1:3])
