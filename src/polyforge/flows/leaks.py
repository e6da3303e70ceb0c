"""Things in a flow that look like keys: a flow is shown, copied and shared, so none may stand in it."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from polyforge.flows.document import Document, Given
from polyforge.flows.problems import Problem, pointer
from polyforge.privacy.page import Page
from polyforge.privacy.secrets import KeyFinder, PemFinder

_FINDERS: Final = (KeyFinder(keys=True, tokens=True), PemFinder())
_SIGNS: Final = re.compile(r"://[^/\s:@{}]{1,200}:[^/\s@{}]{1,200}@|\b[Bb]earer [A-Za-z0-9._~+/-]{16,}")
_TELLING: Final = re.compile(
    r"(?:proxy-)?authorization|(?:x-)?(?:api|auth|access|secret|private)[-_]?(?:key|token)|token|secret|pass(?:word|wd)|cookie",
    re.IGNORECASE,
)
_SHORTEST: Final = 8
_MOST: Final = 50
_HINT: Final = 'keep it as a secret and write {"$secret": "its-name"} where a secret may stand'


class _Text(msgspec.Struct, frozen=True):
    """A text in a node: in its parameters, or in what is written down for an input."""

    node: str
    port: str | None
    keys: tuple[str | int, ...]
    text: str

    @property
    def telling(self) -> bool:
        """Whether it stands under a name for secrets."""
        key = self.keys[-1] if self.keys else self.port
        named = isinstance(key, str) and _TELLING.fullmatch(key) is not None
        return named and len(self.text) >= _SHORTEST and "{{" not in self.text


def leaks_in(document: Document) -> list[Problem]:
    """A problem for each text that looks like a key, as many as are told."""
    texts = list(_all_texts(document))
    # One look at everything is much faster than one at each, and hardly any flow has something to be found.
    if _suspicious("\n".join([each.text for each in texts])):
        suspects = [each for each in texts if each.telling or _suspicious(each.text)]
    else:
        suspects = [each for each in texts if each.telling]
    return [_problem(each) for each in suspects[:_MOST]]


def _suspicious(text: str) -> bool:
    return _SIGNS.search(text) is not None or any(finder.find(Page(text)) for finder in _FINDERS)


def _all_texts(document: Document) -> Iterator[_Text]:
    for name, node in document.nodes.items():
        yield from _texts(name, None, node.params, ())
        for port, given in node.inputs.items():
            if isinstance(given, Given):
                yield from _texts(name, port, given.value, ())
    for name, group in document.groups.items():
        for port, given in group.start.items():
            if isinstance(given, Given):
                yield from _texts(name, port, given.value, ())
        if isinstance(group.over, Given):
            yield from _texts(name, "over", group.over.value, ())


def _texts(node: str, port: str | None, value: Any, keys: tuple[str | int, ...]) -> Iterator[_Text]:
    if isinstance(value, str):
        yield _Text(node, port, keys, value)
    elif isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            if key not in ("$secret", "$ref"):
                yield from _texts(node, port, inner, (*keys, key))
    elif isinstance(value, list):
        for place, inner in enumerate(cast("list[Any]", value)):
            yield from _texts(node, port, inner, (*keys, place))


def _problem(found: _Text) -> Problem:
    where = pointer(*(("params",) if found.port is None else ("in", found.port)), *found.keys)
    message = "this looks like a key or password"
    return Problem("literal_secret", message, _HINT, node=found.node, port=found.port, param=where)
