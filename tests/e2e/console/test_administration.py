"""Governing: a spent budget, secrets that nobody sees, who did it, events as they come, projects, flags, versions."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.clients import Response, call, chat
from tests.support.settings import PER_CALL, settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

VALUE = "sk-a-value-that-nobody-may-see"
PAGES = (
    "/limits",
    "/secrets",
    "/audit",
    "/events",
    "/settings",
    "/settings?tab=configuration",
    "/settings?tab=flags",
    "/settings?tab=cache",
    "/settings?tab=logs",
    "/settings?tab=sealing",
    "/settings?tab=about",
)


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """One model, of which a call costs a dollar."""
    upstream.models = ["assistant"]
    return settings(upstream, {**solo("assistant", price=dict(PER_CALL))})


def test_a_budget_is_spent_refuses_and_is_added_to(site: Site, window: Window) -> None:
    key = site.server.create_key(name="weather-bot")
    site.sign_in(window, path="/limits")
    page = window.page
    expect(page.get_by_text("No limits yet")).to_be_visible()
    window.shoot("empty")
    window.axe()
    page.get_by_role("button", name="Set limit").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("weather for a dollar")
    dialog.get_by_label("On", exact=True).select_option("key")
    dialog.get_by_label("Which").select_option(label="weather-bot")
    dialog.get_by_label("Starts again").select_option("total")
    dialog.get_by_label("Amount in USD").fill("1")
    expect(dialog.get_by_text("refused before anything is spent")).to_be_visible()
    window.shoot("form")
    window.axe()
    dialog.get_by_role("button", name="Set limit").click()
    row = page.get_by_role("row", name=re.compile("weather for a dollar"))
    expect(row).to_contain_text("weather-bot")
    expect(row).to_contain_text("Fine")

    assert _ask(site, key.key).status == 200
    refused = _ask(site, key.key)
    assert refused.error["code"] == "insufficient_quota"
    assert "weather for a dollar" in refused.error["message"]
    page.reload()
    expect(row).to_contain_text("$1.00 of $1.00")
    expect(row).to_contain_text("Used up")
    row.click()
    expect(dialog.get_by_text("Calls are refused now.")).to_be_visible()
    window.shoot("spent")
    window.axe()
    dialog.get_by_role("button", name="Top up").click()
    adding = page.get_by_role("dialog", name="Top up weather for a dollar")
    adding.get_by_label("Amount in USD").fill("1.5")
    window.shoot("adding")
    adding.get_by_role("button", name="Top up").click()
    expect(page.get_by_text("$1.50 added to weather for a dollar.")).to_be_visible()
    expect(dialog.get_by_text("Calls are refused now.")).to_have_count(0)
    dialog.get_by_role("button", name="Close").click()
    expect(row).to_contain_text("$1.00 of $2.50")
    window.shoot("added")
    assert _ask(site, key.key).status == 200

    row.get_by_role("button", name="Actions for weather for a dollar").click()
    page.get_by_role("menuitem", name="Remove").click()
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No limits yet")).to_be_visible()


def test_a_limit_that_cannot_be_is_refused_at_its_field(site: Site, window: Window) -> None:
    site.sign_in(window, path="/limits")
    page = window.page
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Set limit").first.click()
    dialog.get_by_label("Name").fill("half a request")
    dialog.get_by_label("What counts").select_option("requests")
    dialog.get_by_label("How many requests").fill("1.5")
    window.forgive("/api/v1/limits", "status of 4")
    dialog.get_by_role("button", name="Set limit").click()
    expect(dialog.get_by_label("How many requests")).to_have_attribute("aria-invalid", "true")
    window.shoot("refused")
    dialog.get_by_label("How many requests").fill("2")
    dialog.get_by_label("On", exact=True).select_option("user")
    dialog.get_by_label("Starts again").select_option("minute")
    dialog.get_by_role("button", name="Set limit").click()
    row = page.get_by_role("row", name=re.compile("half a request"))
    expect(row).to_contain_text("Each person")
    expect(row).to_contain_text("2 requests each minute")
    row.click()
    expect(dialog.get_by_text("Who uses most")).to_be_visible()
    window.shoot("each")
    window.axe()


def test_a_secret_is_never_shown_and_the_audit_log_tells_of_it(site: Site, window: Window) -> None:
    site.sign_in(window, path="/secrets")
    page = window.page
    page.get_by_role("button", name="Add secret").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("openai")
    dialog.get_by_label("Value", exact=True).fill(VALUE)
    window.shoot("form")
    window.axe()
    dialog.get_by_role("button", name="Keep it").click()
    row = page.get_by_role("row", name=re.compile("secret:openai"))
    expect(row).to_contain_text("All projects")
    row.get_by_role("button", name="Actions for openai").click()
    page.get_by_role("menuitem", name="Replace the value").click()
    dialog.get_by_label("Value", exact=True).fill(f"{VALUE}-again")
    dialog.get_by_role("button", name="Replace").click()
    expect(page.get_by_text("openai has a new value: version 2.")).to_be_visible()
    page.reload()
    expect(row).to_be_visible()
    assert VALUE not in page.content()
    window.shoot("kept")
    window.axe()

    window.open("/audit?action=secret.*")
    expect(page.get_by_role("row", name=re.compile("secret.changed.*Ada Lovelace.*openai"))).to_be_visible()
    window.shoot("audit")
    window.axe()
    page.get_by_role("row", name=re.compile("secret.created")).click()
    expect(dialog.get_by_role("table")).to_be_visible()
    assert VALUE not in page.content()
    window.shoot("what-changed")
    window.axe()
    dialog.get_by_role("button", name="Close").click()

    page.get_by_role("button", name="Verify").click()
    dialog.get_by_role("button", name="Verify now").click()
    expect(dialog.get_by_text("The log is as it was written.")).to_be_visible()
    window.shoot("verified")
    window.axe()
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Export", exact=True).click()
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert "secret.created" in {line["action"] for line in lines}
    page.get_by_role("tab", name="Copies elsewhere").click()
    expect(page.get_by_text("No exports")).to_be_visible()
    window.shoot("copies")


def test_events_come_live_and_wait_while_they_are_paused(site: Site, window: Window) -> None:
    site.sign_in(window, path="/events")
    page = window.page
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    first = site.server.create_key(name="comes-at-once")
    row = page.get_by_role("row", name=re.compile("key.created.*comes-at-once"))
    expect(row).to_be_visible()
    window.shoot("live")
    window.axe()
    row.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(first.id).first).to_be_visible()
    window.shoot("one")
    window.axe()
    dialog.get_by_role("button", name="Close").click()

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()
    site.server.create_key(name="came-meanwhile")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("row", name=re.compile("came-meanwhile"))).to_have_count(1)
    page.get_by_label("About", exact=True).select_option("people")
    expect(page.get_by_role("row", name=re.compile("came-meanwhile"))).to_have_count(0)


def test_projects_are_made_and_renamed_and_flags_return(site: Site, window: Window) -> None:
    site.sign_in(window, path="/settings")
    page = window.page
    dialog = page.get_by_role("dialog")
    page.get_by_role("row", name=re.compile("You work here")).get_by_role("button", name=re.compile("^Rename")).click()
    dialog.get_by_label("Name").fill("Weather desk")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Project: Weather desk")).to_be_visible()
    page.get_by_role("button", name="New project").click()
    dialog.get_by_label("Name").fill("Harvest desk")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("row", name=re.compile("Harvest desk"))).to_be_visible()
    window.shoot("projects")
    window.axe()

    page.get_by_role("tab", name="Feature flags").click()
    page.get_by_role("button", name="New flag").first.click()
    dialog.get_by_label("Name").fill("new-search")
    dialog.get_by_label("For how many, in percent").fill("10")
    window.shoot("flag")
    window.axe()
    dialog.get_by_role("button", name="Create").click()
    row = page.get_by_role("row", name=re.compile("new-search"))
    expect(row).to_contain_text("10%")
    _choose(page, "new-search", "Edit")
    dialog.get_by_label("On", exact=True).uncheck()
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("Off")
    _choose(page, "new-search", "History")
    dialog.get_by_role("button", name="Return to it").click()
    page.get_by_role("dialog", name="Set new-search as in version 1?").get_by_role(
        "button", name="Return to it"
    ).click()
    expect(page.get_by_text("new-search is as it was, as version 3.")).to_be_visible()
    expect(row).to_contain_text("10%")
    window.shoot("flags")
    window.axe()


def test_a_version_of_the_configuration_is_compared_with_the_one_before(site: Site, window: Window) -> None:
    declared = settings(site.upstream, {**solo("assistant", price=dict(PER_CALL)), **solo("newcomer")})
    site.server.declare(declared)
    eventually(lambda: _newest_version(site) == 2, "the changed file is in force")
    site.sign_in(window, path="/settings?tab=configuration")
    page = window.page
    expect(page.get_by_role("tab", name="Configuration")).to_have_attribute("aria-selected", "true")
    page.get_by_role("row", name=re.compile(r"^2 In force")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row", name=re.compile("models.newcomer")).first).to_be_visible()
    window.shoot("difference")
    window.axe()


def test_every_page_fits_small_windows_and_speaks_hindi_in_the_dark(site: Site, windows: Windows) -> None:
    narrow = windows("narrow", viewport=NARROW)
    dark = windows("dark", color_scheme="dark", locale="hi-IN")
    site.sign_in(narrow, path=PAGES[0])
    site.sign_in(dark, path=PAGES[0])
    for path in PAGES:
        name = path.strip("/").replace("?tab=", "-")
        for window in (narrow, dark):
            window.open(path)
            expect(window.page.get_by_role("heading", level=1)).to_be_visible()
            expect(window.page.locator("[aria-busy=true], .animate-pulse")).to_have_count(0)
            window.fits()
            window.shoot(name)
        dark.axe()


def test_one_who_may_only_read_changes_nothing(site: Site, window: Window) -> None:
    site.server.create_key(name="somebody-elses")
    viewer = site.person("vera@forge.example", "viewer", "Vera Rubin")
    site.sign_in(window, viewer, "/limits")
    page = window.page
    expect(page.get_by_role("heading", name="Limits")).to_be_visible()
    expect(page.get_by_role("button", name="Set limit")).to_have_count(0)
    window.open("/secrets")
    expect(page.get_by_text("It takes the permission secrets:read.")).to_be_visible()
    window.open("/audit")
    expect(page.get_by_text("It takes the permission audit:read.")).to_be_visible()
    window.open("/settings")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    expect(page.get_by_role("tab", name="Feature flags")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("^Rename"))).to_have_count(0)
    window.shoot("settings")


def _ask(site: Site, key: str) -> Response:
    return call(site.url, "/v1/chat/completions", key=key, json=chat("assistant", max_tokens=5))


def _newest_version(site: Site) -> int:
    versions = json.loads(site.server.api("GET", "/configurations?limit=1").body)["data"]
    return versions[0]["version"]


def _choose(page: Page, of: str, action: str) -> None:
    page.get_by_role("button", name=f"Actions for {of}").click()
    page.get_by_role("menuitem", name=action).click()
