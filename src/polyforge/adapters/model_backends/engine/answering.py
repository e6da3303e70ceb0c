"""Several requests as one computation, and each request's own answer or error out of it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from polyforge.kernel.errors import PolyforgeError
from polyforge.ports.model_backend import ModelRequest, Outputs

_Row = TypeVar("_Row")
_Result = TypeVar("_Result")
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


def answer_each(
    batch: Sequence[ModelRequest],
    read: Callable[[ModelRequest], list[_Row]],
    compute: Callable[[Sequence[_Row]], list[_Result]],
    write: Callable[[ModelRequest, Sequence[_Row], list[_Result]], Outputs],
) -> list[Outputs | PolyforgeError]:
    """The answer to each request, all their rows computed together; a request that is wrong is answered with why."""
    rows = [_attempt(read, request) for request in batch]
    flat = [row for each in rows if not isinstance(each, PolyforgeError) for row in each]
    results = _attempt(compute, flat)
    if isinstance(results, PolyforgeError) and len(batch) > 1:
        # One of them is to blame; alone it is found out, and the others are answered.
        return [answer_each([request], read, compute, write)[0] for request in batch]
    answers: list[Outputs | PolyforgeError] = []
    start = 0
    for request, each in zip(batch, rows, strict=True):
        if isinstance(each, PolyforgeError):
            answers.append(each)
        elif isinstance(results, PolyforgeError):
            answers.append(results)
        else:
            answers.append(write(request, each, results[start : start + len(each)]))
            start += len(each)
    return answers


def _attempt(step: Callable[[_Given], _Made], given: _Given) -> _Made | PolyforgeError:
    try:
        return step(given)
    except PolyforgeError as error:
        return error
