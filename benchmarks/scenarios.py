"""What is sent to every target."""

import json
from dataclasses import dataclass
from typing import Literal

Kind = Literal["whole", "stream", "paced"]

MODELS: dict[Kind, str] = {"whole": "bench-whole", "stream": "bench-stream", "paced": "bench-paced"}
"""One logical model per canned upstream, so that a gateway's own routing picks the upstream."""


@dataclass(frozen=True)
class Scenario:
    """One kind of load from wrk."""

    name: str
    title: str
    kind: Kind
    callers: int
    payload_bytes: int


SCENARIOS = (
    Scenario("whole-1-1k", "whole answer, 1 caller, 1 kB request", "whole", 1, 1_000),
    Scenario("whole-32-1k", "whole answer, 32 callers, 1 kB request", "whole", 32, 1_000),
    Scenario("whole-1-100k", "whole answer, 1 caller, 100 kB request", "whole", 1, 100_000),
    Scenario("whole-32-100k", "whole answer, 32 callers, 100 kB request", "whole", 32, 100_000),
    Scenario("stream-32-1k", "stream of 100 chunks sent at once, 32 callers, 1 kB request", "stream", 32, 1_000),
)
LATENCY, THROUGHPUT, STREAM = "whole-1-1k", "whole-32-1k", "stream-32-1k"
PACED = "paced"


def body(kind: Kind, payload_bytes: int) -> bytes:
    """A chat request of about the given size."""
    text = "Tell me what a lighthouse counts. "
    request: dict[str, object] = {
        "model": MODELS[kind],
        "messages": [
            {"role": "system", "content": "You answer in plain words."},
            {"role": "user", "content": (text * (payload_bytes // len(text) + 1))[:payload_bytes]},
        ],
        "max_tokens": 256,
        "temperature": 0.2,
    }
    if kind != "whole":
        request["stream"] = True
    return json.dumps(request).encode()
