"""What is kept of requests: sums as a file for data tools, and what guardrails found in each."""

from pathlib import Path
from typing import Any

import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.console.conftest import TOKENS
from tests.support.behaviours import Answer, Tokens
from tests.support.browser import Window
from tests.support.server import Key
from tests.support.settings import settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

PRIVATE = "Write to ann@example.org, please"
CARD = "My card is 4111 1111 1111 1111"


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """Two priced models; whatever goes to one of them is looked at."""
    models = {
        **solo("assistant", price=TOKENS),
        **solo("guarded", price=TOKENS, guardrails=["addresses", "cards"]),
    }
    guardrails = {
        "addresses": {"use": "pii", "kinds": ["email"], "action": "mask"},
        "cards": {"use": "pii", "kinds": ["card"], "action": "block"},
    }
    return settings(upstream, models, guardrails=guardrails, requests={"payloads": {"keep": "asked"}})


@pytest.fixture(scope="module")
def shop(site: Site, upstream: Upstream) -> Key:
    """A key with some calls of both models."""
    key = site.server.create_key(name="shop")
    upstream.script("assistant", Answer(tokens=Tokens(11, 7)))
    upstream.script("guarded", Answer("It is written.", tokens=Tokens(13, 5)))
    for _ in range(3):
        assert ask(site, key, "assistant", "Tell me of rivers")[0] == 200
    return key


def ask(site: Site, key: Key, model: str, text: str) -> tuple[int, str]:
    """One chat; its status and the id of the request."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    headers = {"x-polyforge-log": "payload"}
    answer = site.server.call("/v1/chat/completions", key=key.key, json=body, headers=headers)
    return answer.status, answer.headers["x-request-id"]


def logged(site: Site, request: str) -> None:
    eventually(lambda: site.server.api("GET", f"/requests/{request}").status == 200, "the request in the log")


def verdicts(page: Page) -> Locator:
    """What guardrails found, in the request that is open."""
    return page.get_by_role("list", name="Guardrails").get_by_role("listitem")


def test_usage_comes_as_a_table_for_data_tools(site: Site, window: Window, shop: Key, tmp_path: Path) -> None:
    eventually(lambda: site.api("GET", "/usage", 200)["totals"]["requests"] >= 3, "three calls in the sums")
    site.sign_in(window, path="/usage")
    page = window.page
    expect(page.get_by_role("table", name="Usage by Model")).to_be_visible()
    page.get_by_role("button", name="Download").click()
    window.shoot("formats")
    window.axe()
    with page.expect_download() as downloading:
        page.get_by_role("menuitem", name="Parquet").click()
    assert downloading.value.suggested_filename.endswith(".parquet")
    downloading.value.save_as(tmp_path / "usage.parquet")
    table: Any = pyarrow.parquet.read_table(tmp_path / "usage.parquet")
    rows = table.to_pylist()
    totals = site.api("GET", "/usage", 200)["totals"]
    for name in ("requests", "errors", "input_tokens", "output_tokens"):
        assert sum(row[name] for row in rows) == totals[name], name
    for name in ("price_usd", "cost_usd"):
        assert float(sum(row[name] for row in rows)) == pytest.approx(totals[name])
    by_model = {each["model"]: each["requests"] for each in site.api("GET", "/usage?group_by=model", 200)["data"]}
    told = {model: sum(row["requests"] for row in rows if row["model"] == model) for model in by_model}
    assert told == by_model


def test_what_a_guardrail_masked_is_shown_and_approved(site: Site, window: Window, shop: Key) -> None:
    status, request = ask(site, shop, "guarded", PRIVATE)
    assert status == 200
    assert b"ann@example.org" not in site.upstream.requests("guarded")[-1].body
    logged(site, request)
    site.sign_in(window, path="/requests?model=guarded")
    page = window.page
    page.get_by_role("row").filter(has_text="guarded").first.click()
    dialog = page.get_by_role("dialog")
    (verdict,) = site.api("GET", f"/requests/{request}", 200)["guardrails"]
    assert (verdict["guardrail"], verdict["action"], verdict["kinds"], verdict["count"]) == (
        "addresses",
        "mask",
        ["email"],
        1,
    )
    expect(verdicts(page)).to_have_count(1)
    for part in ("addresses", "masked", "in the question", "email", "1 finding"):
        expect(verdicts(page)).to_contain_text(part)
    verdicts(page).scroll_into_view_if_needed()
    window.shoot("masked")
    window.axe()
    dialog.get_by_role("button", name="Open it").click()
    expect(dialog.get_by_text("It is written.")).to_be_visible()
    expect(dialog.get_by_text("ann@example.org")).to_have_count(0)
    dialog.get_by_label("Your comment").fill("The address was hidden, as it should be")
    dialog.get_by_role("button", name="Good").click()
    expect(dialog.locator("p", has_text="The address was hidden")).to_be_visible()
    (said,) = site.api("GET", f"/requests/{request}", 200)["feedback"]
    assert (said["rating"], said["comment"]) == (1, "The address was hidden, as it should be")
    window.shoot("approved")
    window.axe()


def test_what_a_guardrail_blocked_says_which_and_why(site: Site, window: Window, shop: Key) -> None:
    status, request = ask(site, shop, "guarded", CARD)
    assert status >= 400
    logged(site, request)
    last = site.api("GET", f"/requests/{request}", 200)["hops"][-1]
    assert (last["name"], last["microseconds"] > 0) == ("guardrails", True)
    site.sign_in(window, path=f"/requests/{request}")
    page = window.page
    expect(verdicts(page)).to_contain_text("cards")
    expect(verdicts(page)).to_contain_text("blocked")
    expect(page.get_by_text("guardrail_blocked").first).to_be_visible()
    window.shoot("blocked", full_page=True)
    window.axe()
    window.open("/requests?error=guardrail_blocked")
    expect(page.get_by_role("row").filter(has_text="guarded")).to_be_visible()
