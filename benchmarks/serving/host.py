"""`python -m benchmarks.serving.host SETTINGS PORT DATA`: the model host on a TCP port instead of its Unix socket."""

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


def main(settings_file: str, port: str, data: str) -> None:
    """Serve until SIGTERM."""
    configure("info", "models")
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=BACKLOG)
    listener.setblocking(False)
    wanted = {**json.loads(Path(settings_file).read_text()), "data": data}
    with tempfile.TemporaryDirectory() as scratch, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        host = ModelHost(Settings.model_validate(wanted), Path(scratch))
        runner.run(host.serve(listener, starting=lambda: None, ready=lambda: None))


if __name__ == "__main__":
    main(*sys.argv[1:4])
