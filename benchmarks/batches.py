"""`python -m benchmarks.batches`: how fast lines of a batch of embeddings are done, beside the model host alone.

One installation with a gateway, a model host and a worker. Host and batch take turns with the same texts: the host is
asked on its own socket, in calls of as many texts as a batch sends, several at once. The batch's rate is over all of
it, from its making to its last file; what only its calls took is told beside. Then a caller asks for single embeddings
at a steady pace, while there is nothing else and while the batch runs. Prints JSON; a busy machine makes it worthless.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from openai import OpenAI

from benchmarks.asking import Asking
from polyforge.dialects import oip
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.tensors import Tensor, pack_strings
from tests.support.server import ALL, Polyforge, Role, stopping

STATIC: Final = "polyforge/static-minilm"
ENCODER: Final = "encoder"
FOLDER: Final = "minilm-onnx-int8"
MODELS: Final = "POLYFORGE_TEST_MODELS"
SCOPES: Final = ["inference", "files:read", "files:write", "jobs:read"]
TEXTS_IN_CALL: Final = 128
CALLS_AT_ONCE: Final = 4
SECONDS: Final = 900.0
_WORDS: Final = (
    "house",
    "river",
    "of",
    "tree",
    "stone",
    "and",
    "wind",
    "people",
    "old",
    "a",
    "talk",
    "by",
    "the",
    "road",
)
_ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})


def texts_of(count: int) -> list[str]:
    """Short texts, 5 to 20 words each, all different, and the same each time."""
    return [
        " ".join([f"{number}", *(_WORDS[(number * 7 + place * 5) % len(_WORDS)] for place in range(4 + number % 16))])
        for number in range(count)
    ]


# The host alone


def socket_of(server: Polyforge) -> str:
    """Where the model host listens."""
    (pid,) = server.pids("models")
    found = [each.laddr for each in psutil.Process(pid).net_connections(kind="unix") if each.laddr]
    (path,) = {str(address) for address in found if "/" in str(address)}
    return path


async def host_rate(path: str, model: str, texts: Sequence[str]) -> float:
    """Texts per second."""
    client = OipClient(path, max_connections=CALLS_AT_ONCE)
    calls = iter(range(0, len(texts), TEXTS_IN_CALL))

    async def work() -> None:
        for start in calls:
            some = [text.encode() for text in texts[start : start + TEXTS_IN_CALL]]
            tensor = Tensor("text", "BYTES", (len(some),), pack_strings(some))
            await client.infer(model, oip.encode_request((tensor,)), seconds=SECONDS)

    began = time.perf_counter()
    try:
        await asyncio.gather(*(work() for _ in range(CALLS_AT_ONCE)))
    finally:
        await client.close()
    return len(texts) / (time.perf_counter() - began)


# A batch


def lines_of(model: str, texts: Sequence[str]) -> bytes:
    """The file of a batch."""
    line = {"method": "POST", "url": "/v1/embeddings"}
    return b"".join(
        json.dumps({"custom_id": str(number), **line, "body": {"model": model, "input": text}}).encode() + b"\n"
        for number, text in enumerate(texts)
    )


def begin(client: OpenAI, model: str, texts: Sequence[str]) -> str:
    """A batch that is about to run."""
    file = client.files.create(file=("in.jsonl", lines_of(model, texts)), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    return made.id


def wait_for(server: Polyforge, client: OpenAI, batch: str) -> dict[str, Any]:
    """The job of a batch once it has ended; RuntimeError when it did not do all it should."""
    deadline = time.monotonic() + SECONDS
    while (found := client.batches.retrieve(batch)).status not in _ENDED:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the batch is still {found.status}")
        time.sleep(0.05)
    counts = found.request_counts
    if found.status != "completed" or counts is None or counts.completed != counts.total:
        raise RuntimeError(f"the batch is {found.status}: {counts}")
    return server.api("GET", "/jobs?kind=batch&limit=1").json["data"][0]


def batch_rate(server: Polyforge, client: OpenAI, model: str, texts: Sequence[str]) -> float:
    """Lines per second, from its making to its end."""
    file = client.files.create(file=("in.jsonl", lines_of(model, texts)), purpose="batch")
    began = time.perf_counter()
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    wait_for(server, client, made.id)
    return len(texts) / (time.perf_counter() - began)


def cpu_seconds(server: Polyforge) -> dict[Role, float]:
    """What each process has computed so far, which also a busy machine tells."""
    found: dict[Role, float] = {}
    for role in ALL:
        times = [psutil.Process(pid).cpu_times() for pid in server.pids(role)]
        found[role] = sum(each.user + each.system for each in times)
    return found


# Somebody who waits meanwhile


def waiting(server: Polyforge, client: OpenAI, texts: Sequence[str], per_second: float) -> dict[str, Any]:
    """How long callers wait without and with a batch of the same model."""

    def ask() -> None:
        client.embeddings.create(model=STATIC, input="how are you", encoding_format="base64")

    quiet = Asking(ask, per_second)
    with quiet.going_on():
        time.sleep(max(5.0, 300 / per_second))
    busy = Asking(ask, per_second)
    batch = begin(client, STATIC, texts)
    began = time.perf_counter()
    with busy.going_on():
        wait_for(server, client, batch)
    rate = len(texts) / (time.perf_counter() - began)
    ratio = busy.told["p99_ms"] / quiet.told["p99_ms"]
    told = {"quiet": quiet.told, "during_batch": busy.told, "p99_ratio": round(ratio, 2)}
    return {**told, "batch_lines_per_second": round(rate)}


def compared(server: Polyforge, client: OpenAI, model: str, count: int, rounds: int) -> dict[str, Any]:
    """Host and batch in turns; medians, and what share of the host's rate the batch has."""
    texts, path = texts_of(count), socket_of(server)
    batch_rate(server, client, model, texts[: min(count, 1_000)])
    hosts, batches, worked = list[float](), list[float](), dict.fromkeys(ALL, 0.0)
    for _ in range(rounds):
        hosts.append(asyncio.run(host_rate(path, model.removeprefix("polyforge/"), texts)))
        before = cpu_seconds(server)
        batches.append(batch_rate(server, client, model, texts))
        worked = {role: worked[role] + spent - before[role] for role, spent in cpu_seconds(server).items()}
    host, batch = statistics.median(hosts), statistics.median(batches)
    cpu = {role: round(spent / rounds / count * 1e6, 1) for role, spent in worked.items()}
    runs: dict[str, Any] = {
        "batch_cpu_us_per_line": cpu,
        "host_runs": [round(each) for each in hosts],
        "batch_runs": [round(each) for each in batches],
    }
    return {"lines": count, "host": round(host), "batch": round(batch), "share": round(batch / host, 3), **runs}


def measure(options: argparse.Namespace, encoder: Path) -> dict[str, Any]:
    """Everything."""
    price = {"input": 0.0, "output": 0.0}
    settings = {"models": {ENCODER: {"task": "embedding", "source": encoder.as_uri(), "price": price}}}
    with tempfile.TemporaryDirectory() as folder:
        server = Polyforge(Path(folder), settings, roles=ALL)
        with stopping(server):
            key = server.create_key(scopes=SCOPES).key
            client = OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=SECONDS)
            told: dict[str, Any] = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
            told["static"] = compared(server, client, STATIC, options.lines, options.rounds)
            told["encoder"] = compared(server, client, ENCODER, options.encoder_lines, options.rounds)
            told["waiting"] = waiting(server, client, texts_of(options.lines), options.per_second)
            return told


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--encoder-lines", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-second", type=float, default=20.0, help="calls of somebody who waits")
    parser.add_argument("--models", type=Path, help=f"the folder that {FOLDER} lies in [{MODELS}]")
    options = parser.parse_args()
    given = options.models or os.environ.get(MODELS)
    encoder = Path(given).resolve() / FOLDER if given else None
    if encoder is not None and not encoder.is_dir():
        parser.error(f"there is no {encoder}")
    if encoder is None:
        parser.exit(2, f"--models or {MODELS} must name the folder that {FOLDER} lies in\n")
    print(json.dumps(measure(options, encoder), indent=2))


if __name__ == "__main__":
    main()
