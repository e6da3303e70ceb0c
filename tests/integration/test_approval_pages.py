"""The page that a link to an approval leads to, in Chromium, on an installation with a worker."""

from collections.abc import Generator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import Serve
from tests.support.browser import NARROW, chromium, window
from tests.support.flows import flow, node
from tests.support.server import ALL, Polyforge
from tests.support.waiting import eventually

FORM = {
    "type": "object",
    "properties": {
        "variant": {"type": "string", "title": "Variant", "enum": ["1", "2"]},
        "amount": {"type": "integer", "title": "Amount", "minimum": 1, "description": "In euros."},
        "urgent": {"type": "boolean", "title": "Urgent"},
        "note": {"type": "string", "title": "Note"},
        "tags": {"type": "array", "title": "Tags"},
    },
    "required": ["variant", "amount"],
    "additionalProperties": False,
}
ASK = {"question": "Pay this bill?", "assignees": ["role:owner"], "expires_in_s": 3_600, "form": FORM}
NARROW_WINDOW: dict[str, Any] = {"viewport": NARROW, "color_scheme": "dark"}


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(serve: Serve) -> Polyforge:
    server = serve({}, roles=ALL)
    nodes = {
        "ask": node("human.approval", ASK, show={"bill": {"number": 7, "text": "<b>rent</b>"}}),
        "yes": node("flow.output", {"name": "said"}, value=("ask", "approved")),
        "no": node("flow.output", {"name": "why"}, value=("ask", "rejected")),
    }
    interface = {"inputs": {}, "outputs": {"said": {"type": "json"}, "why": {"type": "json"}}}
    made = server.api("POST", "/flows", {"slug": "pay", "document": flow(nodes, interface=interface)})
    assert made.status == 201, made.body
    assert server.api("POST", "/flows/pay/commit", {}).status in (200, 201)
    return server


def asked(site: Polyforge) -> tuple[str, str]:
    """A run that waits, and where on the site somebody decides."""
    begun = site.api("POST", "/flows/pay/run", {"mode": "async"})
    assert begun.status == 202, begun.body
    run = begun.json["id"]
    waiting = eventually(lambda: site.api("GET", f"/approvals?run={run}&state=pending").json["data"], "an approval")
    linked = site.api("POST", f"/approvals/{waiting[0]['id']}/links", {})
    assert linked.status == 201, linked.body
    return run, "/auth/" + linked.json["page"].partition("/auth/")[2]


def outputs(site: Polyforge, run: str) -> Any:
    """What came of a run, once it is over."""
    return eventually(lambda: site.api("GET", f"/flow-runs/{run}/result").json["outputs"], "the outputs")


def test_a_link_shows_what_to_look_at_and_takes_the_form(site: Polyforge, browser: Browser) -> None:
    run, link = asked(site)
    with window(browser, site.url, "approval", **NARROW_WINDOW) as opened:
        opened.forgive("status of 400")
        opened.forgive("status of 409")
        page = opened.open(link)
        expect(page.get_by_role("heading", name="Pay this bill?")).to_be_visible()
        expect(page.locator("#shown")).to_contain_text("<b>rent</b>")
        assert "token" not in page.url
        page.get_by_label("Variant").select_option("2")
        page.get_by_label("Amount").fill("0")
        page.get_by_label("Urgent").check()
        page.get_by_label("Tags (optional)").fill('["a"]')
        opened.fits()
        opened.shoot("asked", full_page=True)
        opened.axe()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("alert")).to_contain_text("amount")
        page.get_by_label("Amount").fill("5")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("It is approved.")
        opened.shoot("approved")
        opened.open("/flows/flow.css")
        opened.open(link)
        expect(page.get_by_role("alert")).to_contain_text("approved already")
        expect(page.locator("#form")).to_be_hidden()
    assert outputs(site, run) == {"said": {"variant": "2", "amount": 5, "urgent": True, "tags": ["a"]}}


def test_a_rejection_needs_a_reason_and_a_broken_link_says_so(site: Polyforge, browser: Browser) -> None:
    run, link = asked(site)
    with window(browser, site.url, "approval-rejected") as opened:
        opened.forgive("status of 400")
        opened.forgive("status of 401")
        page = opened.open(link)
        page.get_by_role("button", name="Reject").click()
        expect(page.get_by_role("alert")).to_contain_text("say why")
        page.get_by_label("Why not").fill("too dear")
        page.get_by_role("button", name="Reject").click()
        expect(page.get_by_role("status")).to_contain_text("It is rejected.")
        opened.open("/flows/flow.css")
        opened.open(link + "x")
        expect(page.get_by_role("alert")).to_contain_text("the link is wrong")
        opened.open("/flows/flow.css")
        opened.open("/auth/approval")
        expect(page.get_by_role("alert")).to_contain_text("not whole")
    assert outputs(site, run) == {"why": {"reason": "too dear"}}
