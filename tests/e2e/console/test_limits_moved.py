"""Money of limits on its way: what is left of one goes to another, more is added, and it counts from nothing again.

Every number on the page is the API's.
"""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Window
from tests.support.clients import chat
from tests.support.server import Key
from tests.support.settings import PER_CALL, settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """One model, of which a call costs a dollar."""
    upstream.models = ["assistant"]
    return settings(upstream, {**solo("assistant", price=dict(PER_CALL))})


def ask(site: Site, key: Key) -> int:
    """The status of a call that costs a dollar."""
    return site.server.call("/v1/chat/completions", key=key.key, json=chat("assistant", max_tokens=5)).status


def budget(site: Site, name: str, amount: float, subject_id: str) -> str:
    """A new limit on the money of one key, or of each key; its id."""
    body = {"name": name, "subject": "key", "subject_id": subject_id, "amount_usd": amount, "window": "month"}
    return site.api("POST", "/budgets", 201, body)["id"]


def use(site: Site, limit: str, subject: str = "") -> dict[str, Any]:
    """How a limit stands, by the API."""
    return site.api("GET", f"/limits/{limit}{f'?subject_id={subject}' if subject else ''}", 200)["use"]


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row", name=re.compile(f"^{name} "))


def shows(page: Page, site: Site, name: str, limit: str, used: float, allowed: float) -> None:
    """The page and the API say the same."""
    expect(row(page, name)).to_contain_text(f"${used:.2f} of ${allowed:.2f}")
    stands = use(site, limit)
    assert (stands["used"], stands["allowed"], stands["left"]) == (used, allowed, max(0.0, allowed - used))


def act(page: Page, name: str, action: str) -> Locator:
    """Choose what to do with a limit; the dialog that asks."""
    page.get_by_role("button", name=f"Actions for {name}").click()
    page.get_by_role("menuitem", name=action).click()
    return page.get_by_role("dialog")


def test_money_goes_from_one_limit_to_another(site: Site, window: Window) -> None:
    key, other = site.server.create_key(name="rivers-bot"), site.server.create_key(name="harvest-bot")
    rivers, harvest = budget(site, "rivers", 3, key.id), budget(site, "harvest", 2, other.id)
    assert ask(site, key) == 200
    eventually(lambda: use(site, rivers)["used"] == 1, "the call to be counted")
    site.sign_in(window, path="/limits")
    page = window.page
    shows(page, site, "rivers", rivers, 1, 3)

    dialog = act(page, "rivers", "Transfer")
    expect(dialog.get_by_text("$2.00 is left.")).to_be_visible()
    amount = dialog.get_by_label("Amount in USD")
    amount.fill("5")
    dialog.get_by_label("To", exact=True).select_option(label="harvest")
    window.forgive("/transfer", "status of 409")
    dialog.get_by_role("button", name="Transfer").click()
    expect(amount).to_have_attribute("aria-invalid", "true")
    expect(dialog).to_contain_text("2 USD are left")
    window.shoot("too-much")
    window.axe()
    amount.fill("1.5")
    dialog.get_by_role("button", name="Transfer").click()
    expect(page.get_by_text("$1.50 is transferred from rivers.")).to_be_visible()
    shows(page, site, "rivers", rivers, 1, 1.5)
    shows(page, site, "harvest", harvest, 0, 3.5)
    window.shoot("transferred")
    window.axe()

    row(page, "harvest").click()
    dialog.get_by_role("button", name="Top up").click()
    adding = page.get_by_role("dialog", name="Top up harvest")
    adding.get_by_label("Amount in USD").fill("0.25")
    adding.get_by_role("button", name="Top up").click()
    expect(page.get_by_text("$0.25 added to harvest.")).to_be_visible()
    expect(dialog.get_by_text("$0.00 of $3.75")).to_be_visible()
    window.shoot("panel")
    window.axe()
    dialog.get_by_role("button", name="Close").click()
    shows(page, site, "harvest", harvest, 0, 3.75)

    assert ask(site, key) in (402, 429)
    resetting = act(page, "rivers", "Reset")
    window.shoot("resetting")
    resetting.get_by_role("button", name="Reset").click()
    expect(page.get_by_text("rivers counts from nothing again.")).to_be_visible()
    shows(page, site, "rivers", rivers, 0, 1.5)
    assert ask(site, key) == 200
    assert [ask(site, other) == 200 for _ in range(4)] == [True, True, True, False]


def test_counters_that_each_has_give_and_take(site: Site, window: Window) -> None:
    rich, poor = site.server.create_key(name="rich-bot"), site.server.create_key(name="poor-bot")
    each = budget(site, "pocket money", 2, "*")
    chest = budget(site, "chest", 10, poor.id)
    assert (ask(site, rich), ask(site, poor)) == (200, 200)
    eventually(lambda: len(site.api("GET", f"/limits/{each}", 200)["subjects"]) >= 2, "both in the ledger")
    site.sign_in(window, path=f"/limits?open={each}")
    page = window.page
    panel = page.get_by_role("dialog", name="pocket money", exact=True)
    mine = panel.get_by_role("listitem").filter(has_text="rich-bot")
    expect(mine).to_contain_text("$1.00")
    window.shoot("each")
    window.axe()

    mine.get_by_role("button", name="Transfer").click()
    giving = page.get_by_role("dialog", name="Transfer from pocket money · rich-bot")
    giving.get_by_label("Amount in USD").fill("0.5")
    giving.get_by_label("To", exact=True).select_option(label="chest")
    window.shoot("giving")
    window.axe()
    giving.get_by_role("button", name="Transfer").click()
    expect(page.get_by_text("$0.50 is transferred from pocket money · rich-bot.")).to_be_visible()
    assert (use(site, each, rich.id)["allowed"], use(site, chest)["allowed"]) == (1.5, 10.5)

    panel.get_by_role("listitem").filter(has_text="poor-bot").get_by_role("button", name="Top up").click()
    adding = page.get_by_role("dialog", name="Top up pocket money · poor-bot")
    adding.get_by_label("Amount in USD").fill("1")
    adding.get_by_role("button", name="Top up").click()
    expect(page.get_by_text("$1.00 added to pocket money · poor-bot.")).to_be_visible()
    assert (use(site, each, poor.id)["allowed"], use(site, each, rich.id)["allowed"]) == (3, 1.5)
    panel.get_by_role("button", name="Close").click()

    taking = act(page, "chest", "Transfer")
    taking.get_by_label("Amount in USD").fill("0.25")
    taking.get_by_label("To", exact=True).select_option(label="pocket money")
    expect(taking.get_by_role("button", name="Transfer")).to_be_disabled()
    taking.get_by_label("Key", exact=True).select_option(label="rich-bot")
    window.shoot("taking")
    window.axe()
    taking.get_by_role("button", name="Transfer").click()
    expect(page.get_by_text("$0.25 is transferred from chest.")).to_be_visible()
    assert (use(site, each, rich.id)["allowed"], use(site, chest)["allowed"]) == (1.75, 10.25)
