"""Sequences of requests for models that keep state: which instance a sequence has, from its start to its end."""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping

import msgspec

from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.tensors import Parameter

MAX_SEQUENCES = 4096
RETRY_SECONDS = 1.0

Name = int | str


class _Sequence(msgspec.Struct):
    """`used` is when its last request came or was answered; `pending` are those that are not answered."""

    instance: int
    used: float
    pending: int = 0


class Sequences:
    """The live sequences of one model, over `instances`. Follows the parameters of Triton's sequence extension.

    One that is silent for `idle_seconds` has ended. An instance has at most `per_instance` of them; None: any number.
    """

    def __init__(self, instances: int, *, idle_seconds: float = 60.0, per_instance: int | None = None) -> None:
        self._instances = instances
        self._idle_seconds = idle_seconds
        self._per_instance = per_instance
        self._live: OrderedDict[Name, _Sequence] = OrderedDict()
        self._held: Counter[int] = Counter()
        self._silent = [deque[Name](maxlen=MAX_SEQUENCES) for _ in range(instances)]

    def __len__(self) -> int:
        return len(self._live)

    def enter(self, parameters: Mapping[str, Parameter], model: str) -> int:
        """The instance that a request is for; `leave` follows once it is answered, or nobody waits for it.

        Invalid when it is of no sequence, or of one that has not been started; Unavailable when there are too many.
        """
        name = _name_of(parameters, model)
        now = time.monotonic()
        self._end_silent(now)
        known = self._live.get(name)
        if known is None and parameters.get("sequence_start") is not True:
            raise Invalid(
                f"inference request for sequence {name} to model '{model}' must specify the START flag on the first "
                "request of the sequence",
                param="parameters.sequence_start",
            )
        if known is None:
            known = self._live[name] = _Sequence(self._place(model), now)
            self._held[known.instance] += 1
        known.pending += 1
        self._touch(name, known, now)
        return known.instance

    def leave(self, parameters: Mapping[str, Parameter], *, begun: bool) -> None:
        """A request that entered is over; `begun`: its instance has seen it, so that its END flag counts."""
        name = parameters["sequence_id"]
        if isinstance(name, float) or (known := self._live.get(name)) is None:
            return
        known.pending -= 1
        self._touch(name, known, time.monotonic())
        if begun and parameters.get("sequence_end") is True and not known.pending:
            self._end(name)

    def take_ended(self, instance: int) -> tuple[Name, ...]:
        """The sequences of an instance that fell silent and that it does not know of yet."""
        ended = tuple(self._silent[instance])
        self._silent[instance].clear()
        return ended

    def _place(self, model: str) -> int:
        instance = min(range(self._instances), key=self._held.__getitem__)
        full = self._per_instance is not None and self._held[instance] >= self._per_instance
        if full or len(self._live) >= MAX_SEQUENCES:
            raise Unavailable(
                f"model '{model}' has {len(self._live)} live sequences, and no place for one more",
                retry_after=RETRY_SECONDS,
            )
        return instance

    def _touch(self, name: Name, sequence: _Sequence, now: float) -> None:
        sequence.used = now
        self._live.move_to_end(name)

    def _end(self, name: Name) -> None:
        self._held[self._live.pop(name).instance] -= 1

    def _end_silent(self, now: float) -> None:
        for _ in range(len(self._live)):
            name, sequence = next(iter(self._live.items()))
            if now - sequence.used < self._idle_seconds:
                return
            if sequence.pending:
                self._touch(name, sequence, now)
            else:
                self._silent[sequence.instance].append(name)
                self._end(name)


def _name_of(parameters: Mapping[str, Parameter], model: str) -> Name:
    name = parameters.get("sequence_id", 0)
    if isinstance(name, bool | float):
        raise Invalid("'sequence_id' must be a whole number or a string", param="parameters.sequence_id")
    if not name:
        raise Invalid(
            f"inference request to model '{model}' must specify a non-zero or non-empty correlation ID",
            param="parameters.sequence_id",
        )
    return name
