"""The console comes to the browser small, whole, from here alone, and to every path that is its own."""

import json

from playwright.sync_api import Response, expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.clients import call
from tests.support.site import ADA, Site

FIRST_PAGE_BYTES = 500_000
TOO_SMALL_TO_COMPRESS = 1_000


def test_the_first_page_is_small_and_whole(window: Window, empty_site: Site) -> None:
    sizes: dict[str, int] = {}
    plain: dict[str, int] = {}
    session = window.context.new_cdp_session(window.page)
    session.send("Network.enable")
    paths: dict[str, str] = {}
    session.on("Network.responseReceived", lambda told: paths.update({told["requestId"]: told["response"]["url"]}))
    session.on(
        "Network.loadingFinished",
        lambda told: sizes.update({paths.get(told["requestId"], ""): told["encodedDataLength"]}),
    )

    def note(answer: Response) -> None:
        if answer.url.endswith((".js", ".css")) and answer.headers.get("content-encoding") not in ("br", "gzip"):
            plain[answer.url] = int(answer.headers["content-length"])

    window.page.on("response", note)
    window.open("/")
    expect(window.page.locator("#root")).not_to_be_empty()
    window.page.wait_for_load_state("networkidle")
    window.shoot("first-page")
    assert sum(sizes.values()) < FIRST_PAGE_BYTES, json.dumps(sizes, indent=1)
    assert any("/assets/" in url for url in sizes)
    assert [url for url, size in plain.items() if size > TOO_SMALL_TO_COMPRESS] == []


def test_a_page_can_be_loaded_at_its_own_address(window: Window, site: Site) -> None:
    site.sign_in(window, path="/keys")
    expect(window.page.get_by_role("heading", level=1)).to_be_visible()
    assert window.page.url == f"{site.url}/keys"


def test_a_page_whose_files_cannot_be_had_is_waited_for(window: Window, site: Site) -> None:
    window.forgive("net::ERR_")
    site.sign_in(window, path="/keys")
    page = window.page
    expect(page.get_by_role("heading", level=1, name="Keys")).to_be_visible()
    page.evaluate("window.open_since_then = true")
    window.context.set_offline(True)
    page.get_by_role("navigation").get_by_role("link", name="Audit").click()
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    window.shoot("away")
    window.context.set_offline(False)
    expect(page.get_by_role("heading", level=1, name="Audit")).to_be_visible()
    assert page.evaluate("window.open_since_then")


def test_errors_of_programs_stay_theirs(empty_site: Site) -> None:
    for path in ("/v1/nothing", "/api/v1/nothing", "/assets/nothing.js"):
        answer = call(empty_site.url, path, key=empty_site.server.admin_key, headers={"accept": "text/html"})
        assert answer.status == 404
        assert "json" in answer.headers["content-type"]


def test_what_the_browser_has_is_not_sent_again(window: Window) -> None:
    assets: set[str] = set()
    window.page.on("response", lambda answer: assets.add(answer.url) if "/assets/" in answer.url else None)
    window.open("/")
    expect(window.page.locator("#root")).not_to_be_empty()
    ask = window.context.request
    page = ask.get(f"{window.site}/")
    again = ask.get(f"{window.site}/", headers={"if-none-match": page.headers["etag"]})
    assert (page.status, again.status, again.body()) == (200, 304, b"")
    assert assets
    assert [url for url in assets if "immutable" not in ask.get(url).headers["cache-control"]] == []


def test_two_people_have_two_windows(windows: Windows, site: Site) -> None:
    grace = site.person("grace@forge.example", "viewer")
    for person, window in ((ADA, windows("ada")), (grace, windows("grace", color_scheme="dark", viewport=NARROW))):
        site.sign_in(window, person)
        expect(window.page.locator("#root")).not_to_be_empty()
        me = window.context.request.get(f"{site.url}/api/v1/me").json()
        assert me["user"]["email"] == person.email
        window.shoot("home")
