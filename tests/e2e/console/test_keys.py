"""Keys: one is made and shown once, programs call with it, and it is revoked."""

import re

from playwright.sync_api import expect

from tests.support.browser import Window
from tests.support.clients import call, chat
from tests.support.site import Site
from tests.support.waiting import eventually


def test_a_key_is_made_used_and_revoked(site: Site, window: Window) -> None:
    site.sign_in(window, path="/keys")
    page = window.page
    expect(page.get_by_role("button", name="Create key").first).to_be_visible()
    window.shoot("before")
    window.axe()
    page.get_by_role("button", name="Create key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("reporting")
    dialog.get_by_label("Budget in USD").fill("5")
    window.shoot("form")
    window.axe()
    dialog.get_by_role("button", name="Create key").click()
    expect(dialog.get_by_text("Copy it now")).to_be_visible()
    key = dialog.locator("code").first.inner_text()
    window.shoot("issued")
    window.axe()
    dialog.get_by_role("button", name="I have kept it").click()
    assert _status(site, key) == 200

    row = page.get_by_role("row", name=re.compile("reporting"))
    expect(row).to_contain_text("Active")
    expect(row).to_contain_text("$5.00")
    assert key not in page.content()
    window.shoot("made")
    row.get_by_role("button", name="Actions for reporting").click()
    page.get_by_role("menuitem", name="Revoke").click()
    window.shoot("asked")
    window.axe()
    dialog.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("reporting is revoked.")).to_be_visible()
    expect(row).to_have_count(0)
    eventually(lambda: _status(site, key) == 401, "the revoked key is refused")
    # The address says whether they are shown, and with it the box.
    page.get_by_label("Show revoked keys").click()
    expect(page.get_by_label("Show revoked keys")).to_be_checked()
    expect(row).to_contain_text("Revoked")
    window.shoot("revoked")


def test_what_cannot_be_read_is_not_taken_for_no_limit(site: Site, window: Window) -> None:
    site.sign_in(window, path="/keys")
    page = window.page
    page.get_by_role("button", name="Create key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("thrifty")
    dialog.get_by_label("Budget in USD").press_sequentially("1e")
    dialog.get_by_role("button", name="Create key").click()
    expect(dialog.get_by_label("Budget in USD")).to_be_focused()
    window.shoot("half-a-number")
    dialog.get_by_label("Budget in USD").fill("2")
    dialog.get_by_role("button", name="Create key").click()
    expect(dialog.get_by_text("Copy it now")).to_be_visible()
    made = [key for key in site.api("GET", "/keys", 200)["data"] if key["name"] == "thrifty"]
    assert [key["budget_usd"] for key in made] == [2]


def test_a_changed_key_keeps_what_was_not_changed(site: Site, window: Window) -> None:
    body = {"name": "nightly", "rpm": 5, "expires_at": "2040-01-02T03:04:05Z"}
    made = site.api("POST", "/keys", 201, body)
    site.sign_in(window, path=f"/keys?edit={made['id']}")
    dialog = window.page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("nightly report")
    window.shoot("edited")
    # Somebody else raises a limit meanwhile.
    site.api("PATCH", f"/keys/{made['id']}", 200, {"rpm": 50})
    dialog.get_by_role("button", name="Save").click()
    expect(window.page.get_by_role("row", name=re.compile("nightly report"))).to_be_visible()
    now = site.api("GET", f"/keys/{made['id']}", 200)
    assert (now["name"], now["rpm"], now["expires_at"]) == ("nightly report", 50, made["expires_at"])


def _status(site: Site, key: str) -> int:
    return call(site.url, "/v1/chat/completions", key=key, json=chat("assistant", max_tokens=5)).status
