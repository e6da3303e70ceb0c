"""Whose payloads are kept, and how they are cut."""

import pytest

from polyforge.kernel.errors import Denied, Invalid
from polyforge.tenancy.payloads.policy import PayloadPolicy
from polyforge.tenancy.payloads.records import part_of
from polyforge.tenancy.payloads.settings import PayloadSettings


def policy(**settings: object) -> PayloadPolicy:
    return PayloadPolicy(PayloadSettings.model_validate(settings))


def test_by_default_nothing_is_kept_and_nothing_is_asked() -> None:
    nothing = policy()
    assert not nothing.any
    assert not nothing.keeps("p", "m", "payload")
    assert not policy(projects={"p": "never"}).any
    assert policy(models={"m": "asked"}).any


@pytest.mark.parametrize(
    ("keep", "wish", "kept"),
    [
        ("never", "payload", False),
        ("asked", None, False),
        ("asked", "payload", True),
        ("asked", "none", False),
        ("always", None, True),
        ("always", "payload", True),
        ("always", "none", False),
    ],
)
def test_what_is_kept_is_what_both_sides_want(keep: str, wish: str | None, kept: bool) -> None:
    assert policy(keep=keep).keeps("p", "m", wish) is kept


def test_the_stricter_of_a_project_and_a_model_counts_before_the_default() -> None:
    made = policy(
        keep="always",
        projects={"closed": "never", "open": "always"},
        models={"private": "never", "lab/*": "never", "lab/open/*": "always", "lab/open/one": "asked"},
    )
    assert made.keeps("other", "m", None)
    assert not made.keeps("closed", "m", None)
    assert not made.keeps("open", "private", None)
    assert not made.keeps("other", "lab/x", None)
    assert made.keeps("other", "lab/open/two", None)
    assert not made.keeps("other", "lab/open/one", None)
    assert made.keeps("other", "lab/open/one", "payload")


def test_a_wish_that_nobody_can_have_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        policy(keep="always").keeps("p", "m", "all")
    assert refused.value.param == "x-polyforge-log"
    with pytest.raises(Denied):
        policy(keep="always", allow_none=False).keeps("p", "m", "none")
    assert not policy(keep="asked", allow_none=False).keeps("p", "m", "none")


def test_a_text_is_cut_between_characters_and_says_so() -> None:
    whole = part_of(b"abc", 3, 3)
    assert (whole.content, whole.size, whole.cut) == (b"abc", 3, False)
    cut = part_of("a\u20acb".encode(), 5, 3)
    assert (cut.content, cut.size, cut.cut) == (b"a", 5, True)
    begun = part_of(b"abc", 10, 5)
    assert (begun.content, begun.size, begun.cut) == (b"abc", 10, True)
