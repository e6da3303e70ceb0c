"""Secrets as rooms below the database are given them, in a dictionary that tests write."""

from collections.abc import Callable

from polyforge.kernel.errors import NotConfigured, Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.ports.secret_source import Stop


class Secrets:
    """A secret source; `put` and `drop` are heard of at once."""

    def __init__(self, **values: str) -> None:
        self._values = values
        self.watchers: list[tuple[str, Callable[[], None]]] = []

    def put(self, name: str, value: str) -> None:
        """Make or change a secret."""
        self._values[name] = value
        self._tell(name)

    def drop(self, name: str) -> None:
        """Take a secret away."""
        del self._values[name]
        self._tell(name)

    def value(self, name: str) -> Hidden:
        """The secret; NotConfigured when there is none, Unavailable when nobody watches it."""
        if all(watched != name for watched, _ in self.watchers):
            raise Unavailable(f"the secret {name!r} is not known yet")
        if name not in self._values:
            raise NotConfigured(f"there is no secret {name!r}")
        return Hidden(self._values[name])

    def watch(self, name: str, changed: Callable[[], None]) -> Stop:
        """Follow one."""
        watcher = (name, changed)
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher)

    def _tell(self, name: str) -> None:
        for watched, changed in list(self.watchers):
            if watched == name:
                changed()
