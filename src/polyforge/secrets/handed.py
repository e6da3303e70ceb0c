"""Secrets of a process without a database: handed over by one that has it, in memory alone, and again when they change.

Nothing gives them back but `value`: they are not listed, not written, and not in what an object of these shows.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid, NotConfigured, Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.ports.secret_source import Stop

RETRY_SECONDS: Final = 1.0


class _Handed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What there is by name, and what is wrong with those that cannot be had."""

    values: dict[str, str] = {}
    problems: dict[str, str] = {}


_decoder: Final = msgspec.json.Decoder(_Handed)


def encode_handed(values: Mapping[str, Hidden], problems: Mapping[str, str]) -> bytes:
    """The message that hands secrets over. It holds them: it is for one private socket, and for nothing else."""
    return msgspec.json.encode(_Handed({name: value.reveal() for name, value in values.items()}, dict(problems)))


class HandedSecrets:
    """What was handed over last; all of it stays while nobody hands over more. Read from any thread."""

    def __init__(self) -> None:
        self._values: dict[str, Hidden] = {}
        self._problems: dict[str, str] = {}
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._watching = Lock()

    def take(self, message: bytes) -> None:
        """Hold this from now on; Invalid, without a word of what is in it, for what is no such message."""
        try:
            handed = _decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Invalid("this does not hand over secrets") from None
        before = self._said()
        self._values = {name: Hidden(value) for name, value in handed.values.items()}
        self._problems = handed.problems
        now = self._said()
        with self._watching:
            told = [
                each for name, found in self._watchers.items() if now.get(name) != before.get(name) for each in found
            ]
        for changed in told:
            changed()

    def _said(self) -> dict[str, Hidden | str]:
        return {**self._problems, **self._values}

    def value(self, name: str) -> Hidden:
        """The secret as it was handed over; NotConfigured when there is none, Unavailable while nobody has said."""
        found = self._values.get(name)
        if found is not None:
            return found
        problem = self._problems.get(name)
        if problem is not None:
            raise NotConfigured(problem)
        raise Unavailable(f"the secret {name!r} is not known yet; try again", retry_after=RETRY_SECONDS)

    def watch(self, name: str, changed: Callable[[], None]) -> Stop:
        """Call `changed`, which must not raise, whenever a message says something else of this secret."""
        with self._watching:
            self._watchers.setdefault(name, []).append(changed)
        return lambda: self._unwatch(name, changed)

    def _unwatch(self, name: str, changed: Callable[[], None]) -> None:
        with self._watching:
            watchers = self._watchers.get(name, [])
            if changed in watchers:
                watchers.remove(changed)
            if not watchers:
                self._watchers.pop(name, None)
