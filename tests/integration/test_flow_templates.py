"""Flows that are made of templates."""

from collections.abc import AsyncIterator

import pytest

from polyforge.database.database import Database
from polyforge.flows.gallery.records import Chosen
from polyforge.flows.gallery.schemas import made_view, view_of
from polyforge.flows.gallery.service import TemplateService
from polyforge.kernel.errors import Conflict, Invalid, NotFound
from tests.support.databases import Place
from tests.support.flow_rooms import FlowRooms, caller

OURS = Chosen({"assistant": "openai/gpt-4o-mini"}, {}, {"support-channel": "slack-help"})


@pytest.fixture
async def rooms(place: Place) -> AsyncIterator[FlowRooms]:
    database: Database = place.database()
    await database.open()
    yield FlowRooms(database)
    await database.close()


@pytest.fixture
def templates(rooms: FlowRooms) -> TemplateService:
    return TemplateService(rooms.flows, rooms.drafts)


async def test_a_flow_is_made_of_each_and_can_run(rooms: FlowRooms, templates: TemplateService) -> None:
    for template in templates.all():
        made = made_view(await templates.use(caller(), template.name, Chosen(), None, None))
        assert made.problems == []
        assert (await rooms.flows.resolve(caller(), made.slug)).version == made.version
        assert (made.title, made.needs.models) == (template.document.name, ["assistant"])
        assert view_of(template).flow["licence"] == {"spdx": "CC0-1.0"}


async def test_it_holds_what_was_chosen(rooms: FlowRooms, templates: TemplateService) -> None:
    made = made_view(await templates.use(caller(), "ticket-triage", OURS, "help", "Our tickets"))
    assert (made.slug, made.title, made.needs.models) == ("help", "Our tickets", ["openai/gpt-4o-mini"])
    found = await rooms.flows.resolve(caller(), "help")
    assert found.document.nodes["kind"].params["model"] == {"$ref": "model:openai/gpt-4o-mini"}
    assert found.document.nodes["tell"].params["slack"] == {"$secret": "slack-help"}
    assert found.document.nodes["arrives"].params["signature"] == {"$secret": "ticket-webhook"}


async def test_what_the_template_does_not_have_makes_no_flow(rooms: FlowRooms, templates: TemplateService) -> None:
    with pytest.raises(Invalid, match="has no 'asistant'"):
        await templates.use(caller(), "ticket-triage", Chosen({"asistant": "x"}), None, None)
    with pytest.raises(NotFound, match="there is no template 'nothing'; there are campaign-copy"):
        await templates.use(caller(), "nothing", Chosen(), None, None)
    with pytest.raises(Invalid):
        await templates.use(caller(), "ticket-triage", Chosen(), "No Slug", None)
    assert (await rooms.flows.page(caller(), 10, None))[0] == []


async def test_a_short_name_is_taken_once(templates: TemplateService) -> None:
    await templates.use(caller(), "weekly-report", Chosen(), "report", None)
    with pytest.raises(Conflict):
        await templates.use(caller(), "weekly-report", Chosen(), "report", None)
    again = await templates.use(caller(), "weekly-report", Chosen(), None, None)
    assert again.draft.flow.slug == "weekly-report"
