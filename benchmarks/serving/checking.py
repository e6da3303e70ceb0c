"""Whether a server's answers are right: each against the same item computed alone, asked alone and in company."""

import http.client
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import urlsplit

import numpy as np

from benchmarks.serving.engine import Vectors
from benchmarks.serving.load import Calls
from benchmarks.serving.shapes import Shape

COMPANY = 20
ALONE = 40
OK = 200


class WrongAnswer(RuntimeError):
    """An answer is no vector, or nothing like the right one."""


@dataclass(frozen=True)
class Likeness:
    """The least cosine between an answer and the right one, of items sent one by one, and of 20 at a time."""

    alone: float
    together: float


def check(calls: Calls, shape: Shape, right: Vectors) -> Likeness:
    """Ask for some items one by one, then for all of them from 20 callers; WrongAnswer when one cannot be compared."""
    alone = _least(calls, shape, right[:ALONE], callers=1)
    together = _least(calls, shape, right, callers=COMPANY)
    return Likeness(alone, together)


def _least(calls: Calls, shape: Shape, right: Vectors, callers: int) -> float:
    places = range(len(right))
    with ThreadPoolExecutor(callers) as pool:
        parts = [places[first::callers] for first in range(callers)]
        found = [answer for part in pool.map(_ask, cycle([calls]), parts) for answer in part]
    return min(_cosine(shape, answer, right[place]) for place, answer in found)


def _ask(calls: Calls, places: Sequence[int]) -> list[tuple[int, bytes]]:
    parts = urlsplit(calls.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        return [(place, _post(connection, parts.path, calls, place)) for place in places]
    finally:
        connection.close()


def _post(connection: http.client.HTTPConnection, path: str, calls: Calls, place: int) -> bytes:
    connection.request("POST", path, calls.bodies[place], dict(calls.headers))
    response = connection.getresponse()
    answer = response.read()
    if response.status != OK:
        raise WrongAnswer(f"{calls.url} answered {response.status}: {answer.decode(errors='replace')[:500]}")
    return answer


def _cosine(shape: Shape, answer: bytes, right: Vectors) -> float:
    try:
        vector = shape.read(answer).reshape(right.shape)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise WrongAnswer(f"not the answer that was asked for: {answer[:300]!r}") from error
    if not np.isfinite(vector).all() or not vector.any():
        raise WrongAnswer("an answer of zeros, or of no numbers")
    return float(vector @ right / (np.linalg.norm(vector) * np.linalg.norm(right)))
