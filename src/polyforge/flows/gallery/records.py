"""Templates as they lie in the package, read and looked over."""

from collections.abc import Mapping
from typing import Any

import msgspec

from polyforge.flows.document import Document


class Needs(msgspec.Struct, frozen=True):
    """What a template names and an installation has to have, by the names that it uses."""

    models: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    """What its nodes do besides: `notify`, `net:HOST`, `people`, ..."""


class Chosen(msgspec.Struct, frozen=True):
    """What takes the place of those names; what is not chosen stays."""

    models: Mapping[str, str] = {}
    guardrails: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}


class Template(msgspec.Struct, frozen=True):
    """One template."""

    name: str
    document: Document
    sample: dict[str, Any]
    """Inputs to try it with."""
    readme: str
    """Markdown: what it does, what it needs, and how to change it."""
    needs: Needs

    @property
    def licence(self) -> str:
        """An SPDX expression."""
        licence = self.document.licence
        return (licence.spdx if licence is not None else None) or ""
