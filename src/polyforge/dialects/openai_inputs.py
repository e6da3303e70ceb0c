"""OpenAI's inputs that are a text, texts, tokens, or lists of tokens."""

from typing import Any, cast

from polyforge.kernel.errors import Invalid

Inputs = list[str] | list[list[int]]


def read_inputs(given: str | list[Any], field: str) -> Inputs:
    """The inputs as a list of texts or a list of token lists; Invalid names the element that is neither, or empty."""
    if isinstance(given, str) or (given and all(type(element) is int for element in given)):
        given = [given]
        paths = [field]
    else:
        paths = [f"{field}[{index}]" for index in range(len(given))]
    if not given:
        raise Invalid(f"{field} must not be empty", param=field)
    texts = isinstance(given[0], str)
    for path, element in zip(paths, given, strict=True):
        _check_element(element, texts, path)
    return cast(Inputs, given)


def _check_element(element: Any, is_text: bool, path: str) -> None:
    if not isinstance(element, str if is_text else list):
        raise Invalid(f"{path} must be a text, or a list of token ids, like the others", param=path)
    if not element:
        raise Invalid(f"{path} must not be empty", param=path)
    if not is_text and not all(type(token) is int and token >= 0 for token in cast("list[Any]", element)):
        raise Invalid(f"{path} must hold token ids", param=path)
