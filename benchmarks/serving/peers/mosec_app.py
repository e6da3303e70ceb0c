"""mosec, as https://mosecorg.github.io/mosec has it; with a batch of 1 `forward` gets a request, else a list."""

import os
from typing import Any

import numpy as np
from mosec import Server, Worker

from benchmarks.serving.engine import BATCH_SECONDS, add_one, batch_rows, encoder, serves_texts, workers


class Embed(Worker):
    def __init__(self) -> None:
        self.encode = encoder()

    def forward(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {"embedding": self.encode([data["text"]])[0].tolist()}
        return [{"embedding": vector.tolist()} for vector in self.encode([each["text"] for each in data])]


class Add(Worker):
    def __init__(self) -> None:
        self.add = add_one()

    def forward(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {"y": self.add(np.array([data["x"]], np.float32))[0].tolist()}
        return [{"y": row.tolist()} for row in self.add(np.array([each["x"] for each in data], np.float32))]


class AddBinary(Worker):
    def __init__(self) -> None:
        self.add = add_one()

    def deserialize(self, data: bytes) -> Any:
        return np.frombuffer(data, np.float32)

    def serialize(self, data: Any) -> bytes:
        return data.tobytes()

    def forward(self, data: Any) -> Any:
        return self.add(data[None])[0] if isinstance(data, np.ndarray) else list(self.add(np.stack(data)))


def chosen() -> type[Worker]:
    if serves_texts():
        return Embed
    return AddBinary if os.environ["BENCH_FORM"] == "binary" else Add


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        chosen(), num=workers(), max_batch_size=batch_rows(), max_wait_time=round(BATCH_SECONDS * 1000)
    )
    server.run()
