"""What was added over the API, as data: under what the file declares, in the file's own words."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Kind = Literal["provider", "model"]
Key = tuple[Kind, str]
"""One addition: its kind and its name."""
SECTION: Final[Mapping[Kind, str]] = {"provider": "providers", "model": "models"}
EVENTS: Final = ("provider.", "model.")
"""How the events on the stream `settings` begin that tell of additions."""


class Additions(msgspec.Struct, frozen=True):
    """Each by its name, in the order of names, so that every worker numbers their deployments alike."""

    providers: Mapping[str, Any] = {}
    models: Mapping[str, Any] = {}
    changed: Mapping[str, float] = {}
    """When each provider was last changed: it is another one then, which did nothing wrong yet, though only its key is
    new and lies where the old one lay."""

    def of(self, kind: Kind) -> Mapping[str, Any]:
        """Those of a kind."""
        return self.providers if kind == "provider" else self.models

    def with_one(self, kind: Kind, name: str, content: Any) -> "Additions":
        """The same with another content of one, None: without it."""
        others = {known: value for known, value in self.of(kind).items() if known != name}
        if content is not None:
            others[name] = content
        return msgspec.structs.replace(self, **{SECTION[kind]: dict(sorted(others.items()))})

    def without(self, keys: frozenset[Key]) -> "Additions":
        """The same without some."""
        kept = {
            SECTION[kind]: {name: value for name, value in self.of(kind).items() if (kind, name) not in keys}
            for kind in SECTION
        }
        return msgspec.structs.replace(self, **kept)

    def named(self) -> frozenset[Key]:
        """All of them."""
        return frozenset((kind, name) for kind in SECTION for name in self.of(kind))


NOTHING_ADDED: Final = Additions()
