"""A text classifier behind the Open Inference Protocol, as servers of models answer: a stand-in for one of them."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.behaviours import Exchange

Score = Callable[[str], list[float]]
"""The scores of a text, one for each label."""


MODEL = "prompt-guard"


class ClassifierServer:
    """Judges JSON requests over one BYTES tensor; refuses what such a server would."""

    def __init__(self, score: Score, *, shape: str = "[n]", labels: list[str] | None = None) -> None:
        self._score = score
        self._columns = shape == "[n,1]"
        self._labels = labels
        self.asked: list[list[str]] = []
        self.spoil: dict[str, Any] | None = None
        """What the outputs are instead."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.path != f"/v2/models/{MODEL}/infer":
            await _send(exchange, 404, {"error": f"Request for unknown model: {exchange.path}"})
            return
        (tensor,) = exchange.json["inputs"]
        texts = tensor["data"]
        self.asked.append(texts)
        shape = [len(texts), 1] if self._columns else [len(texts)]
        if (tensor["name"], tensor["datatype"], tensor["shape"]) != ("text", "BYTES", shape):
            await _send(exchange, 400, {"error": f"unexpected shape {tensor['shape']} for input 'text'"})
            return
        output = self._labelled(texts) if self._labels else self._numbered(texts)
        outputs = [self.spoil or output]
        await _send(exchange, 200, {"model_name": MODEL, "model_version": "1", "outputs": outputs})

    def _numbered(self, texts: list[str]) -> dict[str, Any]:
        rows = [self._score(text) for text in texts]
        flat = [number for row in rows for number in row]
        return {"name": "scores", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": flat}

    def _labelled(self, texts: list[str]) -> dict[str, Any]:
        """As pipelines of transformers say it: the best label."""
        best: list[str] = []
        for text in texts:
            score, label = max(zip(self._score(text), self._labels or [], strict=True))
            best.append(json.dumps({"label": label, "score": score}))
        return {"name": "output", "datatype": "BYTES", "shape": [len(texts), 1], "data": best}


async def _send(exchange: Exchange, status: int, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    await exchange.head(status, {"content-type": "application/json"}, len(body))
    await exchange.body(body)
    await exchange.end()
