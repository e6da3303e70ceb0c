"""Answers kept for equal requests: the least recently used go when the bytes do not suffice."""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from polyforge.ports.model_backend import ModelRequest, Outputs

KEY_BYTES = 16
ENTRY_BYTES = 512
"""What an answer takes beside its data, roughly."""
NOT_IN_KEY = frozenset({"priority", "timeout"})

Key = tuple[int, bytes]


class ResponseCache:
    """At most `max_bytes` of answers of all models; 0 keeps none. A model is known by a number of its own."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._answers: OrderedDict[Key, tuple[Outputs, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def key(self, model: int, request: ModelRequest, made_of: Iterable[int] = ()) -> Key:
        """What two requests have in common that have the same answer; `made_of` are the models that compute it."""
        digest = blake2b(digest_size=KEY_BYTES)
        for name in sorted(request.inputs):
            tensor = request.inputs[name]
            view = memoryview(tensor.data).cast("B")
            digest.update(repr((name, tensor.datatype, tensor.shape, len(view))).encode())
            digest.update(view)
        said = sorted((name, value) for name, value in request.parameters.items() if name not in NOT_IN_KEY)
        digest.update(repr((said, tuple(made_of))).encode())
        return model, digest.digest()

    def get(self, key: Key) -> Outputs | None:
        """The answer to such a request, if it is kept."""
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return found[0]

    def put(self, key: Key, outputs: Outputs) -> None:
        """Keep an answer; one that would take more than all there is, is not."""
        self._remove(key)
        # An engine's answer may be a view into that of a whole run, which would be kept with it.
        kept = tuple(msgspec.structs.replace(tensor, data=bytes(tensor.data)) for tensor in outputs)
        size = ENTRY_BYTES + sum(len(bytes(tensor.data)) for tensor in kept)
        if size > self.max_bytes:
            return
        while self.bytes + size > self.max_bytes:
            self._remove(next(iter(self._answers)))
        self._answers[key] = kept, size
        self.bytes += size

    def forget(self, model: int) -> None:
        """Let go of the answers of a model."""
        for key in [key for key in self._answers if key[0] == model]:
            self._remove(key)

    def _remove(self, key: Key) -> None:
        removed = self._answers.pop(key, None)
        if removed is not None:
            self.bytes -= removed[1]
