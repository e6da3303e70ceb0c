"""The header with which a caller chooses among the deployments of a model, as far as the policy lets it."""

import re
from typing import Final, Literal, get_args

from polyforge.gateway.routing import NO_WISH, Wish
from polyforge.kernel.errors import Denied, Invalid
from polyforge.registry.settings import LABEL, Hardware, Strategy

ROUTE_HEADER: Final = "x-polyforge-route"
Policy = Literal["none", "tags", "all"]
"""What callers may choose by: nothing, what deployments are labelled with, or providers and strategies as well."""

_LABELS: Final = ("tag", "region", "hardware")
_NAMES: Final = (*_LABELS, "provider", "strategy")
_LONGEST: Final = 1000
_LABEL: Final = re.compile(LABEL)
_CHOICES: Final[dict[str, tuple[str, ...]]] = {"hardware": get_args(Hardware), "strategy": get_args(Strategy)}


def read_wish(text: str, policy: Policy) -> Wish:
    """What `name=value, ...` asks for, `tag` as often as wanted; Invalid when it is malformed, Denied by the policy."""
    if policy == "none":
        raise Denied(f"this gateway lets no caller choose deployments; leave {ROUTE_HEADER} out", param=ROUTE_HEADER)
    if len(text) > _LONGEST:
        raise _invalid(f"has more than {_LONGEST} characters")
    chosen: dict[str, str] = {}
    tags: set[str] = set()
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, value = _read_pair(pair, policy)
        if name == "tag":
            tags.add(value)
        elif name in chosen:
            raise _invalid(f"names {name!r} twice")
        else:
            chosen[name] = value
    wish = Wish(
        chosen.get("provider"),
        chosen.get("region"),
        _hardware(chosen.get("hardware")),
        frozenset(tags),
        _strategy(chosen.get("strategy")),
    )
    return NO_WISH if wish == NO_WISH else wish


def _read_pair(pair: str, policy: Policy) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in pair.partition("="))
    if not equals or name not in _NAMES:
        raise _invalid(f"takes {', '.join(f'{known}=...' for known in _NAMES)}, not {pair[:60]!r}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise _invalid(f"knows {name} {', '.join(_CHOICES[name])}, not {value[:60]!r}")
    if not _LABEL.fullmatch(value):
        raise _invalid(f"has no {name} like {value[:60]!r}")
    if policy == "tags" and name not in _LABELS:
        raise Denied(f"this gateway lets callers choose by {', '.join(_LABELS)} only", param=ROUTE_HEADER)
    return name, value


def _hardware(value: str | None) -> Hardware | None:
    return next((known for known in get_args(Hardware) if known == value), None)


def _strategy(value: str | None) -> Strategy | None:
    return next((known for known in get_args(Strategy) if known == value), None)


def _invalid(problem: str) -> Invalid:
    return Invalid(f"{ROUTE_HEADER} {problem}", param=ROUTE_HEADER)
