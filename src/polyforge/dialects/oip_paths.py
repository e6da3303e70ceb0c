"""Paths of the Open Inference Protocol over HTTP, with Triton's: what each is about. Pure functions.

A model's name may hold slashes, quoted or not: Triton's clients leave them as they are. So a path is read from its end.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeGuard, get_args
from urllib.parse import quote

import msgspec

from polyforge.dialects import oip
from polyforge.kernel.hosted_names import split_deployed

PREFIX: Final = "/v2"
LONGEST_NAME: Final = 256

InferenceOperation = Literal["infer", "infer_stream", "generate", "generate_stream"]
ModelOperation = Literal["infer", "infer_stream", "generate", "generate_stream", "metadata", "ready", "config", "stats"]
_INFERENCE: Final = frozenset(get_args(InferenceOperation))
_SUFFIXES: Final = frozenset(get_args(ModelOperation)) - {"metadata"}
_VERSIONED: Final = 3


class ModelPath(msgspec.Struct, frozen=True, gc=False):
    """What is asked of a model, or of one version of it."""

    name: str
    operation: ModelOperation
    version: str = ""


def is_oip(path: str) -> bool:
    """Whether a path is one of the protocol's."""
    return path.startswith("/v2/") or path == PREFIX


def read_model_path(path: str) -> ModelPath | None:
    """What a path, whose quoting was undone, asks of which model; None for one that is about no model."""
    if not path.startswith("/v2/models/"):
        return None
    parts = path.split("/")[3:]
    operation: ModelOperation = "metadata"
    last = parts[-1]
    if len(parts) > 1 and _is_operation(last):
        operation = last
        parts.pop()
    version = ""
    if len(parts) >= _VERSIONED and parts[-2] == "versions":
        version = parts.pop()
        parts.pop()
    name = "/".join(parts)
    if not name or len(name) > LONGEST_NAME or name == "stats":
        return None
    return ModelPath(name, operation, version)


def is_inference(operation: str) -> TypeGuard[InferenceOperation]:
    """Whether an operation has a model compute something."""
    return operation in _INFERENCE


def hosted_path(hosted: str, operation: ModelOperation, version: str = "") -> str:
    """The path at a model's host, by its name there, of the version that this names or else of `version`."""
    rest: Sequence[str] = () if operation == "metadata" else (operation,)
    if version and split_deployed(hosted) is None:
        rest = ("versions", quote(version, safe=""), *rest)
    return oip.model_path(hosted, *rest)


def _is_operation(part: str) -> TypeGuard[ModelOperation]:
    return part in _SUFFIXES
