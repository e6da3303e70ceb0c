"""The header with which a caller labels its calls, for sums of usage and costs by label."""

import re
from functools import lru_cache
from typing import Final

from polyforge.kernel.errors import Invalid

TAGS_HEADER: Final = "x-polyforge-tags"
MOST_TAGS: Final = 16
LONGEST_TAG: Final = 64

_TAG: Final = re.compile(r"[A-Za-z0-9_.:/@+-]+(?:=[A-Za-z0-9_.:/@+-]+)?")


@lru_cache(maxsize=1024)
def read_tags(text: str) -> tuple[str, ...]:
    """The labels in `team=red, app=chat, urgent`, sorted; Invalid when one cannot be or its name comes twice."""
    if len(text) > MOST_TAGS * (LONGEST_TAG + 2):
        raise _invalid(f"has more than {MOST_TAGS * (LONGEST_TAG + 2)} characters")
    tags: dict[str, str] = {}
    for tag in filter(None, (part.strip() for part in text.split(","))):
        if len(tag) > LONGEST_TAG:
            raise _invalid(f"takes tags of at most {LONGEST_TAG} characters, not {tag[:LONGEST_TAG]!r}...")
        if not _TAG.fullmatch(tag):
            raise _invalid(f"takes letters, digits and _.:/@+- in `name` or `name=value`, not {tag!r}")
        name = tag.partition("=")[0]
        if name in tags:
            raise _invalid(f"names {name!r} twice")
        tags[name] = tag
    if len(tags) > MOST_TAGS:
        raise _invalid(f"takes at most {MOST_TAGS} tags")
    return tuple(sorted(tags.values()))


def _invalid(problem: str) -> Invalid:
    return Invalid(f"{TAGS_HEADER} {problem}", param=TAGS_HEADER)
