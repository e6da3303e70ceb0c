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
    page.get_by_label("Show revoked keys").check()
    expect(row).to_contain_text("Revoked")
    window.shoot("revoked")


def _status(site: Site, key: str) -> int:
    return call(site.url, "/v1/chat/completions", key=key, json=chat("assistant", max_tokens=5)).status
