"""Names of models: in addresses, and in the lists of the Gemini API and of Vertex AI."""

import re
from typing import Final

import msgspec

from polyforge.kernel.errors import ModelNotFound, UpstreamFailed

_GEMINI: Final = re.compile(r"(?:(?:models|tunedModels)/)?[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_VERTEX: Final = re.compile(r"(?:(?:publishers/[a-z0-9-]{1,63}/models|endpoints)/)?[A-Za-z0-9][A-Za-z0-9._@-]{0,255}")


class _Model(msgspec.Struct):
    name: str


class _Page(msgspec.Struct, rename="camel"):
    models: list[_Model] | None = None
    publisher_models: list[_Model] | None = None
    next_page_token: str | None = None


_page: Final = msgspec.json.Decoder(_Page)


def gemini_name(model: str) -> str:
    """A model's name with its collection; ModelNotFound for one that is none, which would lead to another address."""
    if not _GEMINI.fullmatch(model):
        raise ModelNotFound("there is no such model at this provider", param="model")
    return model if "/" in model else f"models/{model}"


def vertex_name(model: str, publisher: str) -> str:
    """The same on Vertex AI, where it is the publisher's, or an endpoint of the project."""
    if not _VERTEX.fullmatch(model):
        raise ModelNotFound("there is no such model at this provider", param="model")
    return model if "/" in model else f"publishers/{publisher}/models/{model}"


def read_models(body: bytes) -> tuple[list[str], str | None]:
    """The names on one page of a list, without their collection, and the token of the next page."""
    try:
        page = _page.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's list of models is none") from error
    names = [model.name.rpartition("/")[2] for model in page.models or page.publisher_models or ()]
    return names, page.next_page_token or None
