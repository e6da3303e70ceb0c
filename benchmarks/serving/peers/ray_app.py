"""Ray Serve with `serve.batch`, as https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html has it."""

import os
import threading
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from benchmarks.serving.engine import BATCH_SECONDS, add_one, batch_rows, encoder, port, serves_texts, workers

MOST_ONGOING = 200


@serve.deployment(num_replicas=workers(), max_ongoing_requests=MOST_ONGOING)
class Embed:
    def __init__(self) -> None:
        self._encode = encoder()

    @serve.batch(max_batch_size=batch_rows(), batch_wait_timeout_s=BATCH_SECONDS)
    async def encode(self, texts: list[str]) -> list[Any]:
        return [vector.tolist() for vector in self._encode(texts)]

    async def __call__(self, request: Request) -> dict[str, Any]:
        return {"embedding": await self.encode((await request.json())["text"])}


@serve.deployment(num_replicas=workers(), max_ongoing_requests=MOST_ONGOING)
class Add:
    def __init__(self) -> None:
        self._add = add_one()

    @serve.batch(max_batch_size=batch_rows(), batch_wait_timeout_s=BATCH_SECONDS)
    async def add(self, rows: list[list[float]]) -> list[Any]:
        return [row.tolist() for row in self._add(np.array(rows, np.float32))]

    async def __call__(self, request: Request) -> dict[str, Any]:
        return {"y": await self.add((await request.json())["x"])}


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["BENCH_SCRATCH"])
    serve.start(http_options={"host": "127.0.0.1", "port": port()})
    serve.run((Embed if serves_texts() else Add).bind(), route_prefix="/")
    threading.Event().wait()
