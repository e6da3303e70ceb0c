"""The header with which callers label their calls."""

import pytest

from polyforge.gateway.tags import MOST_TAGS, TAGS_HEADER, read_tags
from polyforge.kernel.errors import Invalid


def test_what_it_can_say() -> None:
    assert read_tags("team=red,app=chat") == ("app=chat", "team=red")
    assert read_tags("urgent, team=red,") == ("team=red", "urgent")
    assert read_tags("") == read_tags(" , ") == ()


def test_as_many_and_as_long_as_it_may_be() -> None:
    tags = [f"{number:02}=".ljust(64, "x") for number in range(MOST_TAGS)]
    assert read_tags(", ".join(reversed(tags))) == tuple(tags)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("team=", "`name` or `name=value`, not 'team='"),
        ("=red", "not '=red'"),
        ("a b", "not 'a b'"),
        ("team=red=blue", "not 'team=red=blue'"),
        ("gr\xfcn", "not 'grün'"),
        ("a=1,a=2", "names 'a' twice"),
        ("x" * 65, "at most 64 characters"),
        (",".join(f"t{number}" for number in range(17)), "at most 16 tags"),
        ("," * 2000, "more than 1056 characters"),
    ],
)
def test_what_it_cannot_say(text: str, match: str) -> None:
    with pytest.raises(Invalid, match=match) as caught:
        read_tags(text)
    assert caught.value.param == TAGS_HEADER
