"""Somebody who works in two organizations: each shows what is its own, in every window of the browser."""

import re

from playwright.sync_api import Page, expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.clients import chat
from tests.support.site import Person, Site
from tests.support.waiting import eventually

WEATHER = "default · Weather Works"
HARVEST = "default · Harvest"


def of_two_organizations(site: Site, email: str, name: str) -> Person:
    """A developer of the first organization who owns another one."""
    site.api("PATCH", "/organization", 200, {"name": "Weather Works"})
    person = site.person(email, "developer", name)
    site.api("POST", "/organizations", 201, {"name": "Harvest", "owner_id": person.id})
    return person


def choose(page: Page, project: str) -> None:
    """Work in a project from now on."""
    page.get_by_role("button", name=re.compile("^Project: ")).click()
    page.get_by_role("menuitem", name=project).click()
    works_in(page, project)


def works_in(page: Page, project: str) -> None:
    expect(page.get_by_role("button", name=f"Project: {project}", exact=True)).to_be_visible()


def create_key(page: Page, name: str) -> None:
    page.get_by_role("button", name="Create key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Create key").click()
    dialog.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_role("row", name=re.compile(name))).to_be_visible()


def test_each_organization_shows_its_own_and_a_link_to_the_others_is_not_found(site: Site, window: Window) -> None:
    emmy = of_two_organizations(site, "emmy@forge.example", "Emmy Noether")
    key = site.server.create_key(name="rain-bot")
    answer = site.server.call("/v1/chat/completions", key=key.key, json=chat("assistant", max_tokens=5))
    request = answer.headers["x-request-id"]
    eventually(lambda: site.server.api("GET", f"/requests/{request}").status == 200, "the request in the log")
    budget = {"name": "rain", "subject": "key", "subject_id": key.id, "amount_usd": 5}
    limit = site.api("POST", "/budgets", 201, budget)["id"]

    site.sign_in(window, emmy, "/keys")
    page = window.page
    choose(page, WEATHER)
    rain = page.get_by_role("row", name=re.compile("rain-bot"))
    expect(rain).to_be_visible()
    page.get_by_role("button", name=re.compile("^Project: ")).click()
    window.shoot("two-organizations")
    window.axe()
    page.keyboard.press("Escape")
    choose(page, HARVEST)
    expect(rain).to_have_count(0)
    expect(page.get_by_text("No keys yet")).to_be_visible()
    create_key(page, "harvest-bot")
    window.shoot("the-other")
    own = window.context.request.get(f"{site.url}/api/v1/keys").json()["data"]
    assert [each["name"] for each in own] == ["harvest-bot"]

    window.forgive("status of 404")
    window.open(f"/limits?open={limit}")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("it belongs to another project")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_text("No limits yet")).to_be_visible()
    window.open(f"/requests/{request}")
    expect(page.get_by_text("it belongs to another project")).to_be_visible()
    window.shoot("not-found")
    window.axe()
    choose(page, WEATHER)
    expect(page.get_by_text("it belongs to another project")).to_have_count(0)
    expect(page.get_by_text("rain-bot").first).to_be_visible()
    window.shoot("found")
    window.open("/keys")
    expect(rain).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("harvest-bot"))).to_have_count(0)


def test_what_is_heard_live_and_the_other_windows_go_along(site: Site, window: Window) -> None:
    maria = of_two_organizations(site, "maria@forge.example", "Maria Merian")
    site.sign_in(window, maria, "/events")
    page = window.page
    choose(page, WEATHER)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    site.server.create_key(name="storm-bot")
    storm = page.get_by_role("row", name=re.compile("storm-bot"))
    expect(storm).to_be_visible()
    other = window.context.new_page()
    other.goto(f"{site.url}/keys")
    works_in(other, WEATHER)
    expect(other.get_by_role("row", name=re.compile("storm-bot"))).to_be_visible()

    choose(page, HARVEST)
    works_in(other, HARVEST)
    expect(other.get_by_text("No keys yet")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(storm).to_have_count(0)
    site.server.create_key(name="gale-bot")
    create_key(other, "wheat-bot")
    expect(page.get_by_role("row", name=re.compile("key.created.*wheat-bot"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("gale-bot"))).to_have_count(0)
    expect(page.get_by_role("row", name=re.compile("organization.created.*Harvest"))).to_be_visible()
    window.shoot("events")
    window.axe()


def test_the_longer_name_fits_a_telephone(site: Site, windows: Windows) -> None:
    hypatia = of_two_organizations(site, "hypatia@forge.example", "Hypatia")
    window = windows(viewport=NARROW, color_scheme="dark")
    site.sign_in(window, hypatia, "/keys")
    choose(window.page, WEATHER)
    expect(window.page.locator("[aria-busy=true]")).to_have_count(0)
    window.shoot("keys")
    window.axe()
    window.fits()
