"""Flows as they are kept, and what people call them."""

import re
import unicodedata
from typing import Final, Literal

import msgspec

from polyforge.flows.document import Document
from polyforge.flows.problems import Problem
from polyforge.kernel.errors import Invalid
from polyforge.kernel.ids import new_ulid

PREFIX: Final = "flow_"
SLUG: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
ALIAS: Final = r"^[a-z][a-z0-9_-]{0,62}$"
LIVE_ALIAS: Final = "prod"
"""What is meant where a flow is named without a version, if it has such an alias."""
DRAFT: Final = "draft"
LATEST: Final = "latest"
SHORTEST_PREFIX: Final = 8
"""Digits of a version's id that name it, if no other version of the flow begins with them."""
MAX_FLOWS: Final = 1_000
"""Of one project, put away ones included."""
MAX_VERSIONS: Final = 1_000
"""Of one flow."""
MAX_VERSION_BYTES: Final = 256 << 20
"""Of all versions of one flow together."""
MAX_ALIASES: Final = 50
MAX_CHANGES: Final = 1_000
"""Of where the aliases of one flow pointed; what is older is let go of."""
_SLUG: Final = re.compile(rf"{SLUG[:-1]}\Z")
_ALIAS: Final = re.compile(rf"{ALIAS[:-1]}\Z")
_ID: Final = re.compile(r"^flow_[0-9A-HJKMNP-TV-Z]{26}\Z")
_NOT_IN_SLUGS: Final = re.compile(r"[^a-z0-9]+")
_HEXADECIMAL: Final = re.compile(rf"^[0-9a-f]{{{SHORTEST_PREFIX},64}}\Z")
_RESERVED_SLUGS: Final = frozenset({"import", "validate"})
_RESERVED_ALIASES: Final = frozenset({DRAFT, LATEST})
_SLUG_LENGTH: Final = 56
"""Room is left for a number."""
Action = Literal["set", "rolled_back", "removed"]


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow; its draft, its versions and what points at them are rows of their own."""

    id: str
    organization_id: str
    project_id: str
    slug: str
    title: str
    description: str
    head: str | None
    last_number: int
    created_by: str
    created_at: float
    updated_at: float
    archived_at: float | None


class DraftRow(msgspec.Struct, frozen=True, kw_only=True):
    """A draft as it is kept."""

    flow_id: str
    revision: int
    base: str | None
    version: str
    content: bytes
    size: int
    updated_by: str
    updated_at: float


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A version without its content; nothing of it ever changes."""

    flow_id: str
    version: str
    number: int
    parent: str | None
    title: str
    message: str
    size: int
    nodes: int
    created_by: str
    created_at: float


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name that points at a version, such as `prod`."""

    flow_id: str
    alias: str
    version: str
    changed_by: str
    changed_at: float


class AliasChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of where an alias points."""

    id: str
    flow_id: str
    alias: str
    version: str | None
    previous: str | None
    action: Action
    note: str
    changed_by: str
    changed_at: float


class FlowVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version with what it holds, as whoever runs it is given it."""

    flow_id: str
    flow_name: str
    """The flow's short name."""
    version: str
    number: int
    title: str
    document: Document
    alias: str | None = None
    """The alias that led to it."""


class Shown(msgspec.Struct, frozen=True):
    """A flow with what points at its versions."""

    flow: Flow
    aliases: list[Alias]


class Draft(msgspec.Struct, frozen=True):
    """A draft with what it holds and what is wrong with it."""

    flow: Flow
    row: DraftRow
    document: Document
    problems: tuple[Problem, ...]


class Committed(msgspec.Struct, frozen=True):
    """A version, and whether it was not there before."""

    info: VersionInfo
    created: bool
    problems: tuple[Problem, ...] = ()


def new_flow_id() -> str:
    """The id of a new flow."""
    return f"{PREFIX}{new_ulid()}"


def is_flow_id(text: str) -> bool:
    """Whether a text can be the id of a flow."""
    return _ID.match(text) is not None


def is_slug(text: str) -> bool:
    """Whether a text can be the short name of a flow."""
    return _SLUG.match(text) is not None


def check_slug(slug: str) -> str:
    """A short name that somebody chose; Invalid for what cannot be one."""
    if not is_slug(slug):
        hint = "begin with a letter or digit; up to 63 small letters, digits and `-`"
        raise Invalid(f"slug: {slug[:64]!r} cannot be a short name; {hint}", param="slug")
    if slug in _RESERVED_SLUGS:
        raise Invalid(f"slug: {slug!r} means something else in paths; choose another one", param="slug")
    return slug


def check_alias(alias: str) -> str:
    """The name of an alias; Invalid for what cannot be one, or would be read as a version."""
    if not is_alias(alias):
        hint = "begin with a letter; up to 63 small letters, digits, `_` and `-`"
        raise Invalid(f"alias: {alias[:64]!r} cannot be an alias; {hint}", param="alias")
    if alias in _RESERVED_ALIASES or is_version_prefix(alias):
        raise Invalid(f"alias: {alias!r} means something else where a version stands; choose another", param="alias")
    return alias


def is_alias(text: str) -> bool:
    """Whether a text can be the name of an alias."""
    return _ALIAS.match(text) is not None


def is_version_prefix(text: str) -> bool:
    """Whether a text can be the id of a version, or enough of its beginning."""
    return _HEXADECIMAL.match(text) is not None


def slug_of(title: str) -> str:
    """A short name after a title."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = _NOT_IN_SLUGS.sub("-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    return slug if slug and slug not in _RESERVED_SLUGS else "flow"


def split_reference(reference: str) -> tuple[str, str | None]:
    """A flow and which of its versions, of `FLOW` or `FLOW@VERSION`."""
    flow, at, version = reference.partition("@")
    return flow, version if at else None
