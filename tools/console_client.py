"""Renews what the console knows of the API: `make client`, after a change of the API.

It asks a server for its OpenAPI description, writes console/src/client/openapi.json, and has the types generated from
it. A test compares the file with a running server, and the console's check compares the types with the file.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

from build_console import BUILD_SECONDS, Command, Places, install, npm, ready_node, run
from running import Server, running

ROOT: Final = Path(__file__).resolve().parent.parent
DESCRIPTION: Final = Path("src") / "client" / "openapi.json"
SECONDS: Final = 60


def described(server: Server) -> str:
    """The OpenAPI description that a server gives, laid out so that changes can be read."""
    asked = Request(f"{server.url}/api/openapi.json", headers={"authorization": f"Bearer {server.admin_key}"})
    with urlopen(asked, timeout=SECONDS) as answer:
        return json.dumps(json.load(answer), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the description, then the types."""
    places = Places(ROOT)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), "--role", "gateway") as server:
        (places.sources / DESCRIPTION).write_text(described(server), encoding="utf-8")
    node = ready_node(places, sys.stdout)
    install(places, node, sys.stdout)
    advice = "mend what it says of the description"
    run(Command([*npm(node), "run", "client"], places.sources, BUILD_SECONDS, advice), node, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
