"""What of a flow is there for others, and under which name."""

from typing import Final

import msgspec

from polyforge.flows.keeping.records import LIVE_ALIAS, FlowVersion

MAX_PUBLICATIONS: Final = 500
"""Of one project."""
_BETWEEN: Final = "_"
"""No short name of a flow holds it, so a tool's name says which flow and which alias."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """An alias of a flow that others may find."""

    flow_id: str
    alias: str
    tool: bool
    """Agents find it at /mcp."""
    page: bool
    """People find it at /flows/..."""
    changed_by: str
    changed_at: float


class Published(msgspec.Struct, frozen=True):
    """A publication, and the version that it leads to now."""

    publication: Publication
    version: FlowVersion


def tool_name(slug: str, alias: str) -> str:
    """What agents call a flow: its short name, and the alias where that is not the usual one."""
    return slug if alias == LIVE_ALIAS else f"{slug}{_BETWEEN}{alias}"


def tool_reference(name: str) -> str:
    """The flow and the alias that a tool's name means, as `FLOW@ALIAS`."""
    slug, _, alias = name.partition(_BETWEEN)
    return f"{slug}@{alias or LIVE_ALIAS}"
