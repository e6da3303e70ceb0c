"""The version id follows from what counts, and saving changes nothing."""

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.canonical import canonical_bytes, same, save, version_id
from polyforge.flows.reading import read
from tests.support.flows import answering, as_bytes, generated, loaded, made_up_flows, node, shuffled, values


@given(made_up_flows())
@settings(max_examples=80, deadline=None)
def test_save_load_save_is_the_identity(value: object) -> None:
    once = read(as_bytes(value)).document
    assert once is not None
    saved = save(once)
    again = read(saved).document
    assert again is not None
    assert save(again) == saved
    assert version_id(again) == version_id(once)


@given(made_up_flows(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_keys_does_not_count(value: object, chance: random.Random) -> None:
    assert version_id(loaded(value)) == version_id(loaded(shuffled(value, chance)))


def test_the_id_of_a_version_is_for_ever() -> None:
    """Were it another one, every stored version would have lost its name."""
    assert version_id(loaded(answering())) == KNOWN


KNOWN = "4869769fcdf7ae4f338b2732822471b71cba627b61ec49a00ab7e4035ba410a5"


def test_layout_is_not_part_of_the_version() -> None:
    plain, placed = loaded(answering()), loaded({**answering(), "ui": {"chat": {"x": 1, "y": 2.5}}})
    assert version_id(plain) == version_id(placed)
    assert save(plain) != save(placed)
    assert b'"ui"' not in canonical_bytes(placed)


def test_defaults_that_are_written_out_make_no_other_version() -> None:
    spelled = answering()
    spelled["nodes"]["chat"] |= {"policy": {"retries": 0, "on_error": "fail"}}
    spelled |= {"groups": {}, "control": [], "description": None}
    assert version_id(loaded(spelled)) == version_id(loaded(answering()))


def test_what_counts_makes_another_version() -> None:
    seen = {version_id(loaded(answering()))}
    for change in (
        {"name": "Other"},
        {"description": "Says more."},
        {"licence": {"spdx": "CC-BY-4.0"}},
        {"requires": {"secrets": ["x"]}},
        {"control": [{"from": ["question", "value"], "to": "chat"}]},
    ):
        seen.add(version_id(loaded({**answering(), **change})))
    seen.add(
        version_id(loaded(answering(prompt=node("prompt.template", {"template": "{{q}}?"}, q=("question", "value")))))
    )
    assert len(seen) == 7


def test_a_thousand_nodes_are_saved_and_read() -> None:
    document = loaded(generated(1_000))
    assert read(save(document)).document == document


@given(values, values)
@settings(max_examples=200, deadline=None)
def test_same_is_the_same_canonical_form(one: object, other: object) -> None:
    assert same(one, json.loads(json.dumps(one)))
    if not same(one, other):
        assert json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)


def test_true_is_not_one() -> None:
    assert not same([1], [True])
    assert not same({"a": 0}, {"a": False})
    assert same([1], [1.0])
