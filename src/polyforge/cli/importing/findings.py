"""What an import tells beside its result, and reading what a foreign file says without trusting its shape."""

from typing import Any, Literal, NamedTuple, cast

from polyforge.kernel.errors import SettingsError

Kind = Literal["left out", "changed", "to do"]
"""`left out`: has no counterpart; `changed`: works another way here; `to do`: somebody has to see to it."""
Tree = dict[str, Any]


class Finding(NamedTuple):
    """Something of the foreign file that did not simply become a setting."""

    kind: Kind
    path: str
    """Where it stands in the foreign file."""
    message: str


class Findings:
    """Gathers them, each once."""

    def __init__(self) -> None:
        self._all: dict[Finding, None] = {}

    @property
    def all(self) -> list[Finding]:
        """In the order in which they were told."""
        return list(self._all)

    def left_out(self, path: str, message: str) -> None:
        """It has no counterpart."""
        self._all[Finding("left out", path, message)] = None

    def changed(self, path: str, message: str) -> None:
        """It works another way here."""
        self._all[Finding("changed", path, message)] = None

    def to_do(self, path: str, message: str) -> None:
        """Somebody has to see to it."""
        self._all[Finding("to do", path, message)] = None


def mapping(value: object, path: str) -> Tree:
    """A section; SettingsError when it is something else. One that is empty is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: must hold settings by name")
    return {str(name): each for name, each in cast(dict[object, object], value).items()}


def listing(value: object, path: str) -> list[Any]:
    """A list; SettingsError when it is something else. One that is empty is none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise SettingsError(f"{path}: must be a list")
    return cast(list[Any], value)


def number(value: object, path: str) -> float:
    """A number that is not negative, in whatever way YAML left it; SettingsError when it is none."""
    try:
        found = float(cast(Any, value))
    except (TypeError, ValueError):
        found = -1.0
    if isinstance(value, bool) or not 0 <= found < float("inf"):
        raise SettingsError(f"{path}: must be a number that is not negative")
    return found


def whole(value: object, path: str) -> int:
    """The same, without what is behind the point."""
    return int(number(value, path))
