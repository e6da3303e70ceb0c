"""Anthropic's list of models. Source: https://docs.claude.com/en/api/models-list."""

from datetime import UTC, datetime
from typing import Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


class ModelInfo(msgspec.Struct, gc=False):
    """One model as Anthropic describes it."""

    id: str
    display_name: str
    created_at: str
    lifecycle: str = "active"
    type: str = "model"


class _ModelList(msgspec.Struct, gc=False):
    data: list[ModelInfo]
    first_id: str | None
    last_id: str | None
    has_more: bool = False


class _WireModel(msgspec.Struct, gc=False):
    id: str


class _WireList(msgspec.Struct, gc=False):
    data: list[_WireModel]


_names: Final = msgspec.json.Decoder(_WireList)


def model_info(name: str, created: int) -> ModelInfo:
    """A model; `created` in seconds since the epoch."""
    return ModelInfo(name, name, datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def encode_models(models: list[ModelInfo]) -> bytes:
    """The answer to GET /v1/models: all of them on one page."""
    ends = (models[0].id, models[-1].id) if models else (None, None)
    return _encode(_ModelList(models, *ends))


def encode_model(model: ModelInfo) -> bytes:
    """The answer to GET /v1/models/{model}."""
    return _encode(model)


def decode_model_names(body: bytes) -> list[str]:
    """The names in an upstream's list; ValueError when it is none."""
    return [model.id for model in _names.decode(body).data]
