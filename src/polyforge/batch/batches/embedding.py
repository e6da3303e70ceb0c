"""Lines for the same embedding model as one call, and its answer as theirs. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from polyforge.dialects.openai_batches import Line, in_one_line
from polyforge.dialects.openai_embeddings import EmbeddingTokens, decode_embeddings
from polyforge.kernel.errors import PolyforgeError, UpstreamFailed
from polyforge.kernel.tasks import InferenceRequest

_KNOWN: Final = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
_MOST_BYTES: Final = 1024 * 1024


class Unit(msgspec.Struct, frozen=True, gc=False):
    """Lines that are one call."""

    lines: list[Line]
    body: bytes
    sizes: list[int]
    """How many inputs each line has."""
    weights: list[int]
    """How long each line is, so that what was used can be shared out."""


class _Item(msgspec.Struct, gc=False):
    embedding: msgspec.Raw
    index: int = 0
    object: str = "embedding"


class _Reply(msgspec.Struct, gc=False):
    data: list[_Item]
    model: str = ""
    usage: EmbeddingTokens | None = None
    object: str = "list"


_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_reply: Final = msgspec.json.Decoder(_Reply).decode
_encode: Final = msgspec.json.Encoder().encode


def alone(line: Line) -> Unit:
    """A line as a call of its own, as it came."""
    return Unit([line], line.body, [1], [1])


def units_of(lines: Iterable[Line], most: int) -> Iterator[Unit]:
    """The calls that lines make: those that ask the same of the same model go together, up to `most` texts."""
    gathering: dict[tuple[Any, ...], _Gathering] = {}
    for line in lines:
        request = _plain_request(line)
        if request is None:
            yield alone(line)
            continue
        inputs: list[Any] = list(request.inputs or ())
        # Texts and tokens cannot stand in one list.
        texts = isinstance(inputs[0], str)
        key = (request.model, request.encoding, request.dimensions, request.end_user, texts)
        found = gathering.get(key)
        if found is not None and not found.has_room(len(inputs), len(line.body), most):
            yield found.unit()
            found = None
        if found is None:
            found = gathering[key] = _Gathering(request)
        found.add(line, inputs)
    for found in gathering.values():
        yield found.unit()


def split(unit: Unit, body: bytes) -> tuple[list[bytes], list[int]]:
    """The answer of each line, out of that of all, and its tokens; UpstreamFailed where it does not fit."""
    try:
        reply = _reply(in_one_line(body) if b"\n" in body or b"\r" in body else body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamFailed("the embedding model's answer cannot be read") from error
    if len(reply.data) != sum(unit.sizes):
        raise UpstreamFailed("the embedding model answered with another number of vectors")
    items = sorted(reply.data, key=lambda item: item.index)
    tokens = shares(0 if reply.usage is None else reply.usage.prompt_tokens, unit.weights)
    found: list[bytes] = []
    start = 0
    for size, used in zip(unit.sizes, tokens, strict=True):
        data = [_Item(item.embedding, index) for index, item in enumerate(items[start : start + size])]
        found.append(_encode(_Reply(data, reply.model, EmbeddingTokens(used, used))))
        start += size
    return found, tokens


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """A number shared out by weight, in whole numbers that add up to it."""
    whole, run = sum(weights) or 1, 0
    ends = [0]
    for weight in weights:
        run += weight
        ends.append(total * run // whole)
    return [end - start for start, end in pairwise(ends)]


class _Gathering:
    """Lines that wait for others like them."""

    def __init__(self, request: InferenceRequest) -> None:
        self._request = request
        self._lines: list[Line] = []
        self._inputs: list[Any] = []
        self._sizes: list[int] = []
        self._bytes = 0

    def has_room(self, inputs: int, size: int, most: int) -> bool:
        """Whether as much goes in."""
        return len(self._inputs) + inputs <= most and self._bytes + size <= _MOST_BYTES

    def add(self, line: Line, inputs: list[Any]) -> None:
        """One more."""
        self._lines.append(line)
        self._inputs += inputs
        self._sizes.append(len(inputs))
        self._bytes += len(line.body)

    def unit(self) -> Unit:
        """All of them as one call; one alone goes as it came."""
        if len(self._lines) == 1:
            return alone(self._lines[0])
        request = self._request
        body: dict[str, Any] = {"model": request.model, "input": self._inputs, "encoding_format": request.encoding}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.end_user:
            body["user"] = request.end_user
        return Unit(self._lines, _encode(body), self._sizes, [len(line.body) for line in self._lines])


def _plain_request(line: Line) -> InferenceRequest | None:
    """What a line asks for; None where that is wrong, or more than can be asked for together."""
    try:
        request = decode_embeddings(line.body)
        return request if _fields(line.body).keys() <= _KNOWN else None
    except (PolyforgeError, msgspec.DecodeError):
        return None
