"""Copies of the logs on their way elsewhere: a destination that is down, one that refuses, and what is sent again."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.clients import chat
from tests.support.collector import OUT_OF_ORDER, REFUSED, TAKEN, Collector
from tests.support.settings import settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

AUDIT = "/audit?tab=exports"
LOGS = "/settings?tab=logs"


@pytest.fixture(scope="module")
def siem() -> Iterator[Collector]:
    """Where the audit log goes to, if it takes it."""
    with Collector(OUT_OF_ORDER) as started:
        yield started


@pytest.fixture(scope="module")
def lake() -> Iterator[Collector]:
    """Where the request log goes to, if it takes it."""
    with Collector(REFUSED) as started:
        yield started


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream, siem: Collector, lake: Collector) -> dict[str, Any]:
    """An installation that sends copies of both."""
    audit = {"exports": {"siem": {"use": "https", "url": f"{siem.url}/audit"}}}
    logs = {"exports": {"lake": {"use": "otlp", "endpoint": lake.url, "gather_seconds": 0}}}
    return settings(upstream, solo("assistant"), audit=audit, logs=logs)


def letters(site: Site, log: str) -> list[dict[str, Any]]:
    """What was refused for good and not taken since, by the API."""
    return site.api("GET", f"/{log}/dead-letters", 200)["data"]


def test_what_the_audit_logs_destination_refused_is_sent_again(site: Site, window: Window, siem: Collector) -> None:
    site.sign_in(window, path=AUDIT)
    page = window.page
    expect(page.get_by_text("Failing", exact=True)).to_be_visible()
    expect(page.get_by_text("the sink answered 503")).to_be_visible()
    window.shoot("failing")
    window.axe()
    siem.status = REFUSED
    refused = page.get_by_role("table", name="Refused for good").get_by_role("row").filter(has_text="siem")
    expect(refused.first).to_contain_text("the sink refused it with 422")
    expect(page.get_by_text("Some refused", exact=True)).to_be_visible()
    window.shoot("refused")
    window.axe()

    waits = letters(site, "audit")[0]
    one = refused.filter(has_text=re.compile(f"siem{waits['sequence']}the sink"))
    one.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("It is sent again within seconds.").first).to_be_visible()
    # It is refused once more, and can be asked for once more.
    eventually(lambda: at(site, waits["id"]) not in (None, waits["at"]), "the second refusal")
    expect(one.get_by_role("button", name="Send again")).to_be_visible()

    siem.status = TAKEN
    one.get_by_role("button", name="Send again").click()
    eventually(lambda: at(site, waits["id"]) is None, "the letter to be taken")
    expect(one).to_have_count(0)
    assert any(f'"sequence":{waits["sequence"]},'.encode() in body for body in siem.taken)
    window.shoot("sent-again")
    window.open("/audit?action=audit.dead_letter_retried")
    expect(page.get_by_role("row", name=re.compile("audit.dead_letter_retried.*Ada Lovelace")).first).to_be_visible()
    window.open(AUDIT)
    expect(page.get_by_text("Failing", exact=True)).to_have_count(0)


def at(site: Site, letter_id: str) -> str | None:
    """When a letter was refused last; None when it was taken."""
    return next((each["at"] for each in letters(site, "audit") if each["id"] == letter_id), None)


def test_what_the_request_logs_destination_refused_is_sent_again(site: Site, windows: Windows, lake: Collector) -> None:
    key = site.server.create_key(name="shop")
    answer = site.server.call("/v1/chat/completions", key=key.key, json=chat("assistant", max_tokens=5))
    request = answer.headers["x-request-id"]
    eventually(lambda: letters(site, "request-logs"), "the request to be refused")
    window, narrow = windows(), windows("narrow", viewport=NARROW, color_scheme="dark")
    site.sign_in(window, path=LOGS)
    page = window.page
    refused = page.get_by_role("table", name="Refused for good").get_by_role("row").filter(has_text=request)
    expect(refused).to_contain_text("the sink refused it with 422")
    window.shoot("refused")
    window.axe()
    for path in (LOGS, AUDIT):
        site.sign_in(narrow, path=path)
        expect(narrow.page.get_by_text("Refused for good")).to_be_visible()
        narrow.shoot(path.partition("?")[0].strip("/"), full_page=True)
        narrow.axe()
        narrow.fits()
    lake.status = TAKEN
    refused.get_by_role("button", name="Send again").click()
    eventually(lambda: not letters(site, "request-logs"), "the request to be taken")
    expect(page.get_by_text("Nothing was refused")).to_be_visible()
    expect(page.get_by_text("Up to date", exact=True)).to_be_visible()
    assert len(lake.taken) == 1
    window.shoot("sent-again")
