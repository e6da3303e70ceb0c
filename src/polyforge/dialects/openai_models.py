"""OpenAI's list of models. Source: https://platform.openai.com/docs/api-reference/models."""

import msgspec


class ModelObject(msgspec.Struct, gc=False):
    """One model as OpenAI describes it."""

    id: str
    created: int
    owned_by: str
    object: str = "model"


class _ModelList(msgspec.Struct, gc=False):
    data: list[ModelObject]
    object: str = "list"


class _NamesOnly(msgspec.Struct, gc=False):
    id: str


class _WireList(msgspec.Struct, gc=False):
    data: list[_NamesOnly]


_encode = msgspec.json.Encoder().encode
_names = msgspec.json.Decoder(_WireList)


def encode_models(models: list[ModelObject]) -> bytes:
    """The answer to GET /v1/models."""
    return _encode(_ModelList(models))


def encode_model(model: ModelObject) -> bytes:
    """The answer to GET /v1/models/{model}."""
    return _encode(model)


def decode_model_names(body: bytes) -> list[str]:
    """The names in an upstream's list; ValueError when it is none."""
    return [model.id for model in _names.decode(body).data]
