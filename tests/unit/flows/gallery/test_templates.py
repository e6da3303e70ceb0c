"""The templates of the package: each can run, says what it is, and takes its sample."""

import json

import pytest

from polyforge.flows.built_in import built_in
from polyforge.flows.document import SCHEMA, written
from polyforge.flows.gallery.filling import filled
from polyforge.flows.gallery.reading import FILES, needs_of, templates
from polyforge.flows.gallery.records import Chosen, Template
from polyforge.flows.porttypes import literal_fits, parse_type
from polyforge.flows.reading import load
from polyforge.flows.validating import validate
from polyforge.kernel.errors import Invalid
from polyforge.privacy.kinds import KINDS

NAMES = (
    "campaign-copy",
    "deidentify-notes",
    "product-descriptions",
    "review-mining",
    "ticket-triage",
    "weekly-report",
)
ALL = list(templates().values())


def test_there_are_six() -> None:
    assert tuple(templates()) == NAMES
    assert {each.name for each in FILES.iterdir() if each.is_dir()} == set(NAMES)


@pytest.mark.parametrize("template", ALL, ids=lambda each: each.name)
def test_a_template_can_run_and_nothing_is_odd_about_it(template: Template) -> None:
    types = built_in()
    unavailable = {name for name, node in template.document.nodes.items() if _reason(node.type, node.v)}
    assert [each for each in validate(template.document, types) if each.node not in unavailable] == []
    assert unavailable == set()


def _reason(kind: str, v: int) -> str | None:
    found = built_in().get(kind, v)
    return "unknown" if found is None else found.unavailable


@pytest.mark.parametrize("template", ALL, ids=lambda each: each.name)
def test_a_template_says_what_it_is(template: Template) -> None:
    assert template.licence == "CC0-1.0"
    assert template.document.description
    assert template.readme.startswith(f"# {template.document.name}\n")
    assert "**Needs**" in template.readme
    assert template.needs.models == ("assistant",)
    assert set(template.document.ui) == set(template.document.nodes)
    for name in (*template.needs.secrets, *template.needs.guardrails):
        assert name in template.readme
    for promised in template.document.interface.outputs:
        assert f"`{promised}`" in template.readme


@pytest.mark.parametrize("template", ALL, ids=lambda each: each.name)
def test_the_sample_fits(template: Template) -> None:
    declared = template.document.interface.inputs
    assert template.sample.keys() <= declared.keys()
    for name, value in template.sample.items():
        assert literal_fits(value, parse_type(declared[name].type)), name


@pytest.mark.parametrize("template", ALL, ids=lambda each: each.name)
def test_the_file_is_the_flow_and_nothing_else(template: Template) -> None:
    on_disk = json.loads((FILES / template.name / "flow.json").read_bytes())
    assert on_disk["schema"] == SCHEMA
    assert load(on_disk).document == template.document
    assert load(written(template.document)).document == template.document


def test_what_is_replaced_in_notes_is_told_of_every_kind_that_can_be_masked() -> None:
    params = templates()["deidentify-notes"].document.nodes["replaced"].params
    told = json.loads(params["cel"].partition('"by_form": ')[2].partition("]")[0] + "]")
    assert told == [name.upper() for name in KINDS]


def test_names_of_the_installation_take_the_place_of_the_templates() -> None:
    template = templates()["ticket-triage"]
    chosen = Chosen({"assistant": "openai/gpt-4o-mini"}, {}, {"support-channel": "slack-help"})
    found = needs_of(filled(template, chosen))
    assert found.models == ("openai/gpt-4o-mini",)
    assert found.secrets == ("slack-help", "ticket-webhook")
    assert needs_of(template.document) == template.needs


def test_guardrails_too() -> None:
    template = templates()["deidentify-notes"]
    assert needs_of(filled(template, Chosen(guardrails={"personal-data": "ours"}))).guardrails == ("ours",)


def test_nothing_chosen_changes_nothing() -> None:
    for template in ALL:
        assert filled(template, Chosen()) == template.document


@pytest.mark.parametrize("field", ["models", "guardrails", "secrets"])
def test_a_choice_that_the_template_does_not_have_is_refused(field: str) -> None:
    with pytest.raises(Invalid, match="has no 'asistant'") as caught:
        filled(templates()["ticket-triage"], Chosen(**{field: {"asistant": "x"}}))
    assert caught.value.param == field
