"""Whoever looks after the traffic: what goes on, what went wrong and why, what it came to; and a server that goes away.

Every number on a page is the API's.
"""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import Serve
from tests.e2e.console.conftest import TOKENS, Windows
from tests.support.behaviours import Answer, Fail, Tokens
from tests.support.browser import NARROW, Window
from tests.support.browser import window as open_window
from tests.support.ports import free_port
from tests.support.server import Key
from tests.support.settings import pair, settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
SAID = [{"role": "user", "content": "Tell me of rivers"}]
PAGES = ("/", "/usage", "/requests")


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """Models that answer, that fail and that are throttled, one that is asked elsewhere then; payloads on demand."""
    named = ("assistant", "broken", "throttled")
    models = {name: model for one in named for name, model in solo(one, price=TOKENS).items()}
    models |= {**pair("twice"), **solo("dear")}
    return settings(upstream, models, requests={"payloads": {"keep": "asked"}})


@pytest.fixture(scope="module")
def empty_site(built_console: None, serve: Serve, upstream: Upstream, site_settings: dict[str, Any]) -> Site:
    """An installation whose port stays when it starts again."""
    return Site(serve(site_settings, port=free_port()), upstream)


@pytest.fixture(scope="module")
def shop(site: Site, upstream: Upstream) -> Key:
    """A key with traffic of every kind: answered, failed, throttled, elsewhere, and refused by a budget."""
    key = site.server.create_key(name="shop")
    upstream.script("assistant", *[Answer(tokens=Tokens(11, 7))] * 3)
    upstream.script("broken", *[Fail(500)] * 20)
    upstream.script("throttled", *[Fail(429, headers={"retry-after": "1"})] * 20)
    upstream.script("twice.first", *[Fail(500)] * 20)
    for _ in range(3):
        assert ask(site, key, "assistant") == 200
    assert ask(site, key, "broken") == 502
    assert ask(site, key, "throttled") == 429
    assert ask(site, key, "twice") == 200
    poor = site.server.create_key(name="poor", budget_usd=0.5)
    assert ask(site, poor, "dear") in (402, 429)
    eventually(lambda: len(site.api("GET", "/requests", 200)["data"]) >= 7, "seven requests in the log")
    return key


def ask(site: Site, key: Key, model: str, **headers: str) -> int:
    """One chat with a model; the status of the answer."""
    return site.server.call(CHAT, key=key.key, json={"model": model, "messages": SAID}, headers=headers).status


def stat(page: Page, label: str) -> Locator:
    """The number under a label."""
    return page.get_by_text(label, exact=True).locator("xpath=following-sibling::p[1]")


def row(page: Page, *parts: str) -> Locator:
    """The rows of the list that have all these texts."""
    found = page.get_by_role("row")
    for part in parts:
        found = found.filter(has_text=part)
    return found


def test_home_tells_what_goes_on_and_goes_along(window: Window, site: Site, shop: Key) -> None:
    site.sign_in(window, path="/")
    page = window.page
    today = eventually(lambda: _counted(site), "six calls in the overview")
    expect(stat(page, "Requests today")).to_have_text(str(today["requests"]))
    expect(stat(page, "Failed today")).to_have_text(str(today["errors"]))
    expect(page.get_by_text("All parts work")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="assistant")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    window.shoot("home", full_page=True)
    window.axe()
    assert ask(site, shop, "assistant") == 200
    expect(stat(page, "Requests today")).to_have_text(str(today["requests"] + 1))


def _counted(site: Site) -> Any:
    today = site.api("GET", "/overview", 200)["traffic"]["today"]
    return today if today["requests"] >= 6 else None


def test_a_failed_request_is_found_and_says_why(window: Window, site: Site, shop: Key) -> None:
    site.sign_in(window, path="/requests")
    page = window.page
    expect(row(page, "assistant").first).to_be_visible()
    page.get_by_label("Outcome").select_option("Failed")
    expect(row(page, "assistant")).to_have_count(0)
    expect(row(page, "broken", "502")).to_be_visible()
    assert "status=error" in page.url
    window.shoot("failed-ones")
    row(page, "broken", "502").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("The provider answered with an error, or broke off.").first).to_be_visible()
    expect(dialog.get_by_text("add a second deployment")).to_be_visible()
    hops = dialog.get_by_role("table", name="Where the time went")
    expect(hops.get_by_role("rowheader")).to_have_count(8)
    expect(hops.get_by_role("row").filter(has_text="Settling")).to_contain_text("not reached")
    found = site.api("GET", f"/requests/{_opened(page)}", 200)
    expect(dialog.get_by_role("listitem").filter(has_text="lab · broken")).to_have_count(len(found["tried"]))
    expect(dialog.get_by_text("Nothing else was left to try.")).to_be_visible()
    window.shoot("why")
    window.axe()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert "open=" not in page.url


def _opened(page: Page) -> str:
    return page.url.partition("open=")[2].partition("&")[0]


def test_filters_narrow_the_list_and_stay_in_the_address(window: Window, site: Site, shop: Key) -> None:
    site.sign_in(window, path="/requests?status=refused")
    page = window.page
    expect(row(page, "dear", "insufficient_quota")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Error", exact=True).fill("rate_limit")
    page.keyboard.press("Enter")
    expect(row(page, "throttled", "429")).to_be_visible()
    expect(row(page, "assistant")).to_have_count(0)
    page.reload()
    expect(row(page, "throttled", "429")).to_be_visible()
    expect(page.get_by_label("Error", exact=True)).to_have_value("rate_limit")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("Price from").fill("0.9")
    page.keyboard.press("Enter")
    expect(row(page, "twice", "$1.00")).to_be_visible()
    expect(row(page, "assistant")).to_have_count(0)
    page.get_by_label("End user").fill("nobody-at-all")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No request fits")).to_be_visible()
    window.shoot("nothing-fits")


def test_the_list_goes_along_when_it_is_live(window: Window, site: Site, shop: Key) -> None:
    site.sign_in(window, path="/requests?model=assistant")
    page = window.page
    rows = row(page, "assistant")
    expect(rows.first).to_be_visible()
    before = rows.count()
    page.get_by_label("Live").click()
    expect(page.get_by_label("Live")).to_be_checked()
    assert ask(site, shop, "assistant") == 200
    expect(rows).to_have_count(before + 1)
    assert "live=1" in page.url


def test_a_request_has_an_address_its_words_and_feedback(window: Window, site: Site, shop: Key) -> None:
    answer = site.server.call(
        CHAT, key=shop.key, json={"model": "twice", "messages": SAID}, headers={"x-polyforge-log": "payload"}
    )
    request = answer.headers["x-request-id"]
    eventually(lambda: site.server.api("GET", f"/requests/{request}").status == 200, "the request in the log")
    site.sign_in(window, path=f"/requests/{request}")
    page = window.page
    expect(
        page.get_by_text("It was tried once more.").or_(page.get_by_text("Next came lab · twice.second.")).first
    ).to_be_visible()
    page.get_by_role("button", name="Open it").click()
    expect(page.get_by_text("Tell me of rivers")).to_be_visible()
    page.get_by_label("Your comment").fill("Rivers were missing")
    page.get_by_role("button", name="Bad").click()
    expect(page.locator("p", has_text="Rivers were missing")).to_be_visible()
    (said,) = site.api("GET", f"/requests/{request}", 200)["feedback"]
    assert (said["rating"], said["comment"]) == (-1, "Rivers were missing")
    window.shoot("one", full_page=True)
    window.axe()


def test_usage_by_model_is_the_apis_and_comes_as_a_file(window: Window, site: Site, shop: Key, tmp_path: Path) -> None:
    site.sign_in(window, path="/usage")
    page = window.page
    table = page.get_by_role("table", name="Usage by Model")
    expect(table.get_by_role("row").filter(has_text="assistant")).to_be_visible()
    report = site.api("GET", "/usage?group_by=model", 200)
    for group in report["data"]:
        cells = table.get_by_role("row").filter(has_text=group["model"]).get_by_role("cell")
        assert cells.nth(1).inner_text() == str(group["requests"])
        assert cells.nth(2).inner_text() == str(group["errors"])
    expect(stat(page, "Requests")).to_have_text(str(report["totals"]["requests"]))
    window.shoot("usage", full_page=True)
    window.axe()
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as downloading:
        page.get_by_role("menuitem", name="CSV").click()
    downloading.value.save_as(tmp_path / "usage.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "usage.csv").read_text())))
    assert sum(int(each["requests"]) for each in rows) == report["totals"]["requests"]


def test_usage_is_taken_apart_by_clicks(window: Window, site: Site, shop: Key) -> None:
    site.sign_in(window, path="/usage")
    page = window.page
    page.get_by_role("table", name="Usage by Model").get_by_role("row").filter(has_text="assistant").click()
    expect(page.get_by_role("button", name="Model: assistant")).to_be_visible()
    expect(page.get_by_role("table", name="Usage by Key").get_by_role("row").filter(has_text="shop")).to_be_visible()
    whole = site.api("GET", "/usage?model=assistant", 200)["totals"]
    expect(stat(page, "Requests")).to_have_text(str(whole["requests"]))
    window.shoot("taken-apart")
    expect(page.get_by_role("link", name="See the requests")).to_have_attribute("href", "/requests?model=assistant")
    page.get_by_role("button", name="Model: assistant").click()
    expect(page.get_by_role("button", name="Model: assistant")).to_have_count(0)


def test_people_of_every_kind_can_read_the_pages(windows: Windows, site: Site, shop: Key) -> None:
    for name, options in (
        ("narrow", {"viewport": NARROW}),
        ("dark", {"color_scheme": "dark"}),
        ("hindi", {"locale": "hi-IN"}),
    ):
        window = windows(name, **options)
        site.sign_in(window)
        for path in PAGES:
            window.open(path)
            expect(window.page.get_by_role("heading", level=1)).to_be_visible()
            expect(window.page.locator("[aria-busy=true]")).to_have_count(0)
            window.shoot(path.strip("/") or "home", full_page=True)
            window.axe()
            window.fits()


def test_an_empty_installation_leads_to_its_first_answer(
    browser: Browser, built_console: None, serve: Serve, upstream: Upstream
) -> None:
    empty = Site(serve({}), upstream)
    empty.found()
    with open_window(browser, empty.url, "first-steps") as window:
        empty.sign_in(window)
        page = window.page
        steps = page.get_by_role("listitem").filter(has=page.get_by_text("Make a first call"))
        expect(steps).to_be_visible()
        expect(page.get_by_text("polyforge/static-minilm")).to_be_visible()
        window.shoot("empty", full_page=True)
        window.axe()
        key = empty.server.create_key(name="first")
        asked = {"model": "polyforge/static-minilm", "input": ["a first call"]}
        assert empty.server.call("/v1/embeddings", key=key.key, json=asked).status == 200
        expect(steps.get_by_text("done", exact=True)).to_be_visible()
        page.get_by_role("button", name="Hide the first steps").click()
        page.reload()
        expect(page.get_by_text("All parts work")).to_be_visible()
        expect(steps).to_have_count(0)


def test_who_sees_no_usage_is_told_so(window: Window, site: Site) -> None:
    site.api("POST", "/roles", 201, {"name": "caller", "permissions": ["inference", "models:read"]})
    site.sign_in(window, site.person("caller@forge.example", "caller"), "/usage")
    expect(window.page.get_by_text("You may not see this here")).to_be_visible()


def test_a_server_that_goes_away_and_comes_back_is_noticed(window: Window, site: Site, shop: Key) -> None:
    window.forgive("net::ERR_")
    window.forgive("status of 503")
    site.sign_in(window, path="/")
    page = window.page
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    site.server.stop()
    expect(page.get_by_role("alert").filter(has_text="The server does not answer.")).to_be_visible()
    window.shoot("away")
    site.server.start()
    expect(page.get_by_text("The server does not answer.")).to_have_count(0)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
