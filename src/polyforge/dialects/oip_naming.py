"""What a model host says of a model, told under the name that the caller knows it by. Pure functions.

The host's own name may tell of projects, so it does not leave the house.
"""

from collections.abc import Callable, Mapping
from typing import Any

from polyforge.dialects import oip
from polyforge.kernel.hosted_names import split_deployed


def hosted_as(deployed: str) -> str:
    """What the host calls the model of a deployment."""
    split = split_deployed(deployed)
    return deployed if split is None else split[0]


def renamed_answer(body: bytes, hosted: str, name: str) -> bytes:
    """An answer to an inference, or an event of one; raw tensors behind its JSON stay as they are.

    `model_name` is the first field that has this form: a text that a caller sent has its quotes escaped.
    """
    if hosted == name:
        return body
    return body.replace(_model_name(hosted), _model_name(name), 1)


def renamed_error(message: str, hosted: str, name: str) -> str:
    """The text of an error."""
    return message if hosted == name else message.replace(f"'{hosted}'", f"'{name}'")


def renamed_description(found: Any, rename: Callable[[str], str]) -> Any:
    """Metadata, a configuration, readiness, or statistics."""
    if not isinstance(found, Mapping):
        return found
    told: dict[str, Any] = {**found}
    if isinstance(told.get("name"), str):
        told["name"] = rename(told["name"])
    if isinstance(told.get("model_stats"), list):
        told["model_stats"] = [renamed_description(model, rename) for model in told["model_stats"]]
    return told


def _model_name(name: str) -> bytes:
    return b'"model_name":' + oip.encode_json(name)
