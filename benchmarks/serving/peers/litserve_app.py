"""LitServe with its own batching, as https://lightning.ai/docs/litserve/features/batching has it."""

from typing import Any

import litserve
import numpy as np

from benchmarks.serving.engine import BATCH_SECONDS, add_one, batch_rows, encoder, port, serves_texts, workers


class Embed(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.encode = encoder()

    def decode_request(self, request: dict[str, Any]) -> str:
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, x: list[str]) -> Any:
        return self.encode(x)

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"embedding": output.tolist()}


class Add(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.add = add_one()

    def decode_request(self, request: dict[str, Any]) -> Any:
        return np.array(request["x"], np.float32)

    def predict(self, x: Any) -> Any:
        return self.add(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"y": output.tolist()}


if __name__ == "__main__":
    api = (Embed if serves_texts() else Add)(max_batch_size=batch_rows(), batch_timeout=BATCH_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers())
    server.run(host="127.0.0.1", port=port(), num_api_servers=1, generate_client_file=False, log_level="warning")
