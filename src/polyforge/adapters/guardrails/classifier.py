"""A text-classification model behind the Open Inference Protocol: Triton, KServe, MLServer or whatever speaks it.

The model takes a BYTES tensor of texts. It answers with a row of numbers for each, one for each of `labels` in their
order, or with a JSON text for each: `{"label": ..., "score": ...}`, or a list of such. Texts of systems and developers
are trusted. Source: https://github.com/kserve/open-inference-protocol (inference_rest.md).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from polyforge.dialects import oip
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.tensors import Datatype, Tensor, pack_strings, unpack_strings
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef

_TRUSTED: Final = frozenset({"system", "developer"})
_NO_KIND: Final = re.compile("[^a-z0-9_]+")
_OVERLAP: Final = 200
"""Characters that two pieces of a text have in common."""
_MOST_PIECES: Final = 500
_BATCH: Final = 16
_ANSWER_BYTES: Final = 4 * 1024 * 1024
_ROUNDING: Final = 0.01
_NUMBERS: Final[dict[Datatype, str]] = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}

_Scores = Mapping[str, float]


class Settings(BaseModel):
    """The model, and which of its labels are finds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="The server, without `/v2`.")
    token: SecretRef | None = Field(default=None, description="Sent as `Authorization: Bearer`.")
    model: str = Field(min_length=1, max_length=256, description="Its name on the server.")
    input: str = Field(default="text", description="The input tensor that takes texts.")
    shape: Literal["[n]", "[n,1]"] = Field(
        default="[n]", description="What shape n texts have; models that Triton batches take `[n,1]`."
    )
    output: str | None = Field(default=None, description="The output tensor with the scores; default: the only one.")
    labels: tuple[str, ...] = Field(
        min_length=1, max_length=1000, description="All labels of the model, in the order of its numbers."
    )
    scores: Literal["probabilities", "softmax", "sigmoid"] = Field(
        default="probabilities",
        description="Numbers as they are, or logits: of labels that exclude each other, or not.",
    )
    finds: tuple[str, ...] = Field(min_length=1, description="The labels that are finds.")
    threshold: float = Field(default=0.5, gt=0, le=1, description="From what score on.")
    max_characters: int = Field(
        default=1500, ge=400, le=100_000, description="Longer texts are judged in pieces, which overlap."
    )
    answer_seconds: float = Field(default=3.0, gt=0, le=60, description="How long it may take to answer.")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("must be an http or https URL, without a user or a query in it")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _finds_are_labels(self) -> "Settings":
        if unknown := sorted(set(self.finds) - set(self.labels)):
            raise ValueError(f"finds: {unknown[0]!r} is none of the labels")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: each may be there once")
        return self


class _Labelled(msgspec.Struct):
    label: str
    score: float


_labelled: Final[msgspec.json.Decoder[_Labelled | list[_Labelled]]] = msgspec.json.Decoder(_Labelled | list[_Labelled])


class Classifier:
    """Asks the model about whole requests and whole answers."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "flag"):
            raise ValueError("what a model labels can be blocked or flagged, not masked")
        self._settings = settings
        self._blocks = action == "block"
        self._client = OipClient(base_url=settings.url, max_response_bytes=_ANSWER_BYTES)
        self._kinds = {label: _NO_KIND.sub("_", label.lower())[:40] or "label" for label in settings.finds}
        self._secrets = FollowedSecrets(settings.token)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the token, where it is one of `secrets`; connections are made when they are needed."""
        self._secrets.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        self._secrets.close()
        await self._client.close()

    def begin(self, about: About) -> "Classifier":
        """A session remembers nothing."""
        return self

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Ask about every text; one whose score reaches the threshold for any label is a find."""
        texts = [passage.text for passage in passages if passage.role not in _TRUSTED]
        pieces = [piece for text in texts for piece in _pieces(text, self._settings.max_characters)]
        if len(pieces) > _MOST_PIECES:
            raise ValueError("the texts are too long to be classified")
        kinds: list[str] = []
        for start in range(0, len(pieces), _BATCH):
            for scores in await self._classify(pieces[start : start + _BATCH]):
                kinds += [kind for label, kind in self._kinds.items() if self._is_find(scores, label)]
        return Outcome(tuple(sorted(set(kinds))), len(kinds), self._blocks) if kinds else Outcome()

    def filter(self, part: Part) -> None:
        """The model is asked about whole texts only."""

    def _is_find(self, scores: _Scores, label: str) -> bool:
        return scores.get(label, 0.0) >= self._settings.threshold

    async def _classify(self, texts: Sequence[str]) -> list[_Scores]:
        settings, count = self._settings, len(texts)
        shape = (count,) if settings.shape == "[n]" else (count, 1)
        tensor = Tensor(settings.input, "BYTES", shape, pack_strings([_utf8(text) for text in texts]))
        token = settings.token
        headers = {} if token is None else {"authorization": f"Bearer {self._secrets.reveal(token)}"}
        message = oip.encode_request((tensor,), binary=False)
        answer = await self._client.infer(settings.model, message, seconds=settings.answer_seconds, headers=headers)
        return self._read(self._output(answer), count)

    def _output(self, answer: oip.InferResponse) -> Tensor:
        name = self._settings.output
        if name is None and len(answer.outputs) == 1:
            return next(iter(answer.outputs.values()))
        if name is None or name not in answer.outputs:
            raise ValueError("the model's answer does not have the output with the scores")
        return answer.outputs[name]

    def _read(self, output: Tensor, count: int) -> list[_Scores]:
        """The scores of each text; ValueError where that is not what the answer holds."""
        if output.datatype == "BYTES":
            texts = unpack_strings(output.data, output.count)
            if len(texts) != count:
                raise ValueError("the model labelled another number of texts")
            return [self._labelled(text) for text in texts]
        numbers, labels = _NUMBERS.get(output.datatype), self._settings.labels
        if numbers is None or output.count != count * len(labels) or output.shape[0] != count:
            raise ValueError("the model's scores are not one number for each label")
        table = np.frombuffer(memoryview(output.data), numbers).reshape(count, len(labels)).astype(np.float64)
        rows = _probabilities(table, self._settings.scores)
        return [dict(zip(labels, map(float, row), strict=True)) for row in rows]

    def _labelled(self, text: bytes) -> _Scores:
        found: _Labelled | list[_Labelled] = _labelled.decode(text)
        each = [found] if isinstance(found, _Labelled) else found
        if not each or not {one.label for one in each} <= set(self._settings.labels):
            raise ValueError("the model gave a label that is none of those declared")
        return {one.label: one.score for one in each}


def _probabilities(table: NDArray[np.float64], scores: str) -> NDArray[np.float64]:
    if not np.isfinite(table).all():
        raise ValueError("the model answered with what is no number")
    if scores == "probabilities" and (table.min() < -_ROUNDING or table.max() > 1 + _ROUNDING):
        raise ValueError("the model answered with logits where probabilities were declared")
    if scores == "softmax":
        raised: Any = np.exp(table - table.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)
    return 1.0 / (1.0 + np.exp(-np.clip(table, -500, 500))) if scores == "sigmoid" else table


def _pieces(text: str, most: int) -> Iterator[str]:
    """The text in pieces of at most so many characters, each of which begins within the one before."""
    for start in range(0, max(1, len(text) - _OVERLAP), most - _OVERLAP):
        if piece := text[start : start + most].strip():
            yield piece


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


ADAPTER = Classifier
