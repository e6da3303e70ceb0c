"""Work outside of requests in the console: asked for, watched to its end; cancelled and tried again."""

import csv
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import Serve
from tests.e2e.console.conftest import Windows
from tests.support.behaviours import Answer, Tokens
from tests.support.browser import NARROW, Window
from tests.support.server import ALL, WITHOUT_WORKER
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CALLS = 3
MOST_STEPS = 30


@pytest.fixture(scope="module")
def empty_site(built_console: None, serve: Serve, upstream: Upstream, site_settings: dict[str, Any]) -> Site:
    """An installation with a worker."""
    return Site(serve(site_settings, roles=ALL), upstream)


@pytest.fixture(scope="module")
def busy(site: Site, upstream: Upstream) -> Site:
    """An installation with some requests in its log."""
    key = site.server.create_key(name="shop")
    upstream.script("assistant", *[Answer(tokens=Tokens(11, 7))] * CALLS)
    for _ in range(CALLS):
        asked = {"model": "assistant", "messages": [{"role": "user", "content": "Tell me of rivers"}]}
        assert site.server.call("/v1/chat/completions", key=key.key, json=asked).status == 200
    site.server.settled(key, CALLS)
    return site


def test_requests_are_exported_by_a_job_and_its_file_is_there(window: Window, busy: Site) -> None:
    busy.sign_in(window, path="/jobs")
    page = window.page
    window.shoot("none-yet")
    page.get_by_role("button", name="Export requests").first.click()
    dialog = page.get_by_role("dialog", name="Export requests")
    expect(dialog.get_by_label("Format")).to_have_value("csv")
    window.shoot("form")
    dialog.get_by_role("button", name="Make the file").click()
    panel = page.get_by_role("dialog").filter(has_text="Asked for by")
    expect(panel.get_by_text("Succeeded")).to_be_visible()
    expect(panel.get_by_label("Log", exact=True)).to_contain_text(f"{CALLS} requests in")
    window.settle()
    window.shoot("done")
    window.axe()
    told = panel.get_by_text("GET /v1/files/").inner_text()
    found = busy.server.call(told.removeprefix("GET "), method="GET", key=busy.server.admin_key)
    rows = list(csv.DictReader(found.body.decode().splitlines()))
    assert [row["id"] for row in rows] == [each["id"] for each in busy.api("GET", "/requests", 200)["data"]]
    page.keyboard.press("Escape")
    expect(page.get_by_role("row").filter(has_text="Succeeded")).to_be_visible()
    window.fits()


def test_jobs_are_found_by_state_on_a_small_screen(windows: Windows, busy: Site) -> None:
    made = busy.api("POST", "/requests/exports", 202, {"since": "2026-01-01T00:00:00Z"})
    eventually(lambda: busy.api("GET", f"/jobs/{made['id']}", 200)["state"] == "succeeded", "the end of the job")
    window = windows(viewport=NARROW)
    busy.sign_in(window, path="/jobs?state=failed")
    page = window.page
    expect(page.get_by_text("No job fits")).to_be_visible()
    page.get_by_label("State").select_option("succeeded")
    expect(page.get_by_role("row").filter(has_text=made["title"]).first).to_be_visible()
    window.settle()
    window.shoot("narrow")
    window.fits()


def test_jobs_need_no_mouse(window: Window, busy: Site) -> None:
    made = busy.api("POST", "/requests/exports", 202, {"since": "2026-02-01T00:00:00Z"})
    eventually(lambda: busy.api("GET", f"/jobs/{made['id']}", 200)["state"] == "succeeded", "the end of the job")
    busy.sign_in(window)
    page = window.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")
    page.keyboard.press("Control+k")
    expect(page.get_by_placeholder("Go to a page")).to_be_focused()
    page.keyboard.type("jobs")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    row = page.get_by_role("row").filter(has_text=made["title"]).first
    expect(row).to_be_visible()
    page.get_by_role("button", name="Export requests").first.focus()
    walk(page, row)
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name=made["title"])
    log = panel.get_by_label("Log", exact=True)
    expect(log).to_contain_text("requests in")
    walk(page, log)
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(row).to_be_focused()
    page.get_by_role("button", name="Export requests").first.focus()
    page.keyboard.press("Enter")
    form = page.get_by_role("dialog", name="Export requests")
    submit = form.get_by_role("button", name="Make the file")
    walk(page, submit)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").filter(has_text="Asked for by")).to_be_visible()


def walk(page: Page, to: Locator) -> None:
    """Press Tab until something is reached."""
    for _ in range(MOST_STEPS):
        if to.evaluate("(each) => each === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{to} is not reached with {MOST_STEPS} steps of the keyboard")


@pytest.fixture(scope="module")
def idle(built_console: None, serve: Serve, upstream: Upstream, site_settings: dict[str, Any]) -> Site:
    """An installation without a worker: what is asked for waits."""
    site = Site(serve(site_settings, roles=WITHOUT_WORKER), upstream)
    site.found()
    return site


def test_what_waits_says_for_what_and_is_cancelled_and_tried_again(windows: Windows, idle: Site) -> None:
    made = idle.api("POST", "/requests/exports", 202, {"since": "2026-01-01T00:00:00Z"})
    window = windows()
    window.site = idle.url
    idle.sign_in(window, path=f"/jobs?open={made['id']}")
    panel = window.page.get_by_role("dialog")
    expect(panel.get_by_text("Queued")).to_be_visible()
    expect(panel.get_by_text("Waits:")).to_be_visible()
    window.settle()
    window.shoot("waits")
    panel.get_by_role("button", name="Cancel the job").click()
    expect(panel.get_by_text("Cancelled")).to_be_visible()
    panel.get_by_role("button", name="Try again").click()
    expect(panel.get_by_text("Queued")).to_be_visible()
    assert idle.api("GET", f"/jobs/{made['id']}", 200)["attempt"] == 2
