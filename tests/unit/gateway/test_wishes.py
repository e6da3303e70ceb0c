"""The header with which callers choose among deployments."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.gateway.routing import NO_WISH, Wish
from polyforge.gateway.wishes import ROUTE_HEADER, Policy, read_wish
from polyforge.kernel.errors import Denied, Invalid


def test_what_it_can_say() -> None:
    assert read_wish("tag=eu, tag = fast,region=de,hardware=gpu", "tags") == Wish(
        region="de", hardware="gpu", tags=frozenset({"eu", "fast"})
    )
    assert read_wish("provider=lab,strategy=least_cost", "all") == Wish(provider="lab", strategy="least_cost")
    assert read_wish("", "tags") is NO_WISH
    assert read_wish(" , ", "tags") is NO_WISH


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("tag", "takes tag=..., region=..., hardware=..., provider=..., strategy=..., not 'tag'"),
        ("colour=red", "takes tag=..."),
        ("tag=", "has no tag like ''"),
        ("tag=a b", "has no tag like 'a b'"),
        ("region=eu,region=us", "names 'region' twice"),
        ("hardware=tpu", "knows hardware cpu, gpu, not 'tpu'"),
        ("strategy=cheap", "knows strategy weighted, least_latency, least_cost"),
        ("tag=x," * 400, "more than 1000"),
    ],
)
def test_what_it_cannot_say_is_refused_clearly(text: str, match: str) -> None:
    with pytest.raises(Invalid, match=match) as refused:
        read_wish(text, "all")
    assert (refused.value.param, refused.value.status) == (ROUTE_HEADER, 400)


@pytest.mark.parametrize(
    ("text", "policy"),
    [("tag=a", "none"), ("", "none"), ("provider=lab", "tags"), ("strategy=weighted", "tags")],
)
def test_what_the_policy_does_not_allow_is_denied(text: str, policy: Policy) -> None:
    with pytest.raises(Denied) as refused:
        read_wish(text, policy)
    assert refused.value.param == ROUTE_HEADER


@given(st.text(max_size=60) | st.lists(st.sampled_from(["tag", "=", ",", "a", " ", "hardware", "gpu"])).map("".join))
def test_nothing_else_ever_happens(text: str) -> None:
    with suppress(Invalid):
        assert isinstance(read_wish(text, "all"), Wish)
