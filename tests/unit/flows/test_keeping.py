"""What flows and their versions are called, and how an alias finds its way back."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.built_in import built_in
from polyforge.flows.canonical import save, version_id
from polyforge.flows.keeping.contents import Desk, faulty, told, unpacked
from polyforge.flows.keeping.pointing import way_back
from polyforge.flows.keeping.records import (
    MAX_FLOWS,
    AliasChange,
    check_alias,
    check_slug,
    is_flow_id,
    is_slug,
    is_version_prefix,
    new_flow_id,
    slug_of,
    split_reference,
)
from polyforge.flows.problems import Problem
from polyforge.kernel.errors import Invalid
from tests.support.flows import loaded, made_up_flows

VERSIONS = ("a" * 64, "b" * 64, "c" * 64)
moves = st.lists(st.sampled_from((*VERSIONS, "back")), max_size=12)


@given(st.text(max_size=300))
def test_every_title_has_a_short_name(title: str) -> None:
    slug = slug_of(title)
    assert check_slug(slug) == slug
    assert check_slug(f"{slug}-{MAX_FLOWS + 1}")


def test_an_id_is_never_a_short_name_nor_a_version_an_alias() -> None:
    id_ = new_flow_id()
    assert (is_flow_id(id_), is_slug(id_), is_flow_id(id_.lower()), is_flow_id(f"{id_}\n")) == (
        True,
        False,
        False,
        False,
    )
    for version in (VERSIONS[0], VERSIONS[0][:8]):
        assert is_version_prefix(version)
        with pytest.raises(Invalid):
            check_alias(version)
    assert not is_version_prefix("a" * 7)
    assert check_alias("beta") == "beta"


@pytest.mark.parametrize(
    ("reference", "flow", "version"),
    [
        ("echo", "echo", None),
        ("echo@prod", "echo", "prod"),
        ("echo@", "echo", ""),
        ("a@b@c", "a", "b@c"),
        ("", "", None),
    ],
)
def test_a_reference_is_a_flow_and_perhaps_a_version(reference: str, flow: str, version: str | None) -> None:
    assert split_reference(reference) == (flow, version)


@settings(max_examples=50, deadline=None)
@given(made_up_flows())
def test_what_is_kept_of_a_flow_is_the_flow(whole: dict[str, Any]) -> None:
    document = loaded(whole)
    packed = asyncio.run(Desk(built_in()).pack(document))
    again = unpacked(packed.content)
    assert (again, save(again), version_id(again)) == (document, save(document), packed.version)


@given(moves)
def test_an_alias_goes_back_the_way_that_it_came(steps: list[str]) -> None:
    """Against a stack: what is set goes on top, unless it is there; going back takes the top away."""
    stack, history = list[str](), list[AliasChange]()
    for step in steps:
        present = stack[-1] if stack else None
        if step == "back":
            path = way_back(history[::-1])
            assert path == _below(stack)
            if not path:
                continue
            while stack[-1] != path[0] or stack[-1] == present:
                stack.pop()
            history.append(_change("rolled_back", path[0], present))
        elif step != present:
            stack.append(step)
            history.append(_change("set", step, present))
    assert way_back(history[::-1]) == _below(stack)


def _below(stack: list[str]) -> list[str]:
    return [each for each in stack[-2::-1] if each != stack[-1]] if stack else []


def _change(action: str, version: str, previous: str | None) -> AliasChange:
    known = {"id": "0" * 26, "flow_id": "flow_", "alias": "prod", "note": "", "changed_by": "me", "changed_at": 1.0}
    return AliasChange(**known, version=version, previous=previous, action=action)  # pyright: ignore[reportArgumentType]


def test_a_refusal_has_every_problem_and_begins_with_the_first_error() -> None:
    problems = (
        Problem("unused_node", "nobody takes it", node="a", severity="warning"),
        Problem("bad_param", "it is wrong", "write another", node="b", param="/params/x"),
        Problem("cycle", "they wait for one another", node="c"),
    )
    refused = faulty(problems)
    assert (refused.message, refused.param) == ("node b: it is wrong; write another (and 1 more)", "b")
    assert list(refused.problems) == [told(each) for each in problems]
