"""Sequences of requests for models that keep state: which instance a sequence has, from its start to its end."""

import time
from collections import Counter, OrderedDict
from collections.abc import Mapping

from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.tensors import Parameter

MAX_SEQUENCES = 4096
IDLE_SECONDS = 60.0
"""A sequence that is silent for so long has ended."""


class Sequences:
    """The live sequences of one model, over `instances`. Follows the parameters of Triton's sequence extension."""

    def __init__(self, instances: int) -> None:
        self._instances = instances
        self._live: OrderedDict[int | str, tuple[int, float]] = OrderedDict()
        self._held: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._live)

    def instance_of(self, parameters: Mapping[str, Parameter], model: str) -> int | None:
        """The instance that a request is for; None when it is of no sequence, and any will do.

        Invalid for a sequence that has not been started, Unavailable when there are too many.
        """
        name = parameters.get("sequence_id", 0)
        if isinstance(name, bool | float):
            raise Invalid("'sequence_id' must be a whole number or a string", param="parameters.sequence_id")
        if not name:
            return None
        now = time.monotonic()
        self._end_silent(now)
        known = self._live.get(name)
        if known is None and parameters.get("sequence_start") is not True:
            raise Invalid(
                f"inference request for sequence {name} to model '{model}' must specify the START flag on the first "
                "request of the sequence",
                param="parameters.sequence_start",
            )
        instance = self._start(model) if known is None else known[0]
        self._live[name] = instance, now
        self._live.move_to_end(name)
        if parameters.get("sequence_end") is True:
            self._end(name)
        return instance

    def _start(self, model: str) -> int:
        if len(self._live) >= MAX_SEQUENCES:
            raise Unavailable(f"model '{model}' has {len(self._live)} live sequences", retry_after=1.0)
        instance = min(range(self._instances), key=self._held.__getitem__)
        self._held[instance] += 1
        return instance

    def _end(self, name: int | str) -> None:
        instance, _ = self._live.pop(name)
        self._held[instance] -= 1

    def _end_silent(self, now: float) -> None:
        while self._live:
            name, (_, last) = next(iter(self._live.items()))
            if now - last < IDLE_SECONDS:
                return
            self._end(name)
