"""Models and providers in the console: what answers, where requests go, versions of one's own, and other providers."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.console.conftest import TOKENS, Windows
from tests.support.behaviours import Fail
from tests.support.browser import NARROW
from tests.support.clients import chat
from tests.support.settings import UPSTREAM_KEY, pair, settings, solo
from tests.support.site import Site
from tests.support.small_encoders import encoder
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

BUILT_IN = "polyforge/static-minilm"
BUILT_IN_PATH = "polyforge%2Fstatic-minilm"


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """A model with one place, one with two, and leave to call providers on this machine."""
    upstream.models = ["gpt-upstream", "llama-upstream"]
    models = {**solo("assistant", price=TOKENS), **pair("careful", price=TOKENS)}
    return settings(upstream, models, egress={"allow": ["127.0.0.0/8"]})


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def answer(page: Page, name: str) -> None:
    """Press the button at the end of the dialog that is open."""
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def test_a_model_that_is_built_in_is_seen_unloaded_and_loaded(windows: Windows, site: Site) -> None:
    window = windows()
    site.sign_in(window, path="/models")
    page = window.page
    row = page.get_by_role("row").filter(has_text=BUILT_IN)
    expect(row).to_contain_text("Ready")
    expect(row).to_contain_text("Built in")
    window.shoot("models")
    window.axe()
    row.click()
    expect(page.get_by_role("heading", level=1, name=BUILT_IN)).to_be_visible()
    expect(page.get_by_role("region", name="What answers")).to_contain_text("Ready")
    expect(page.get_by_text("/v1/embeddings")).to_be_visible()
    page.get_by_role("link", name="How it runs on this machine").click()
    expect(page.get_by_text("In memory", exact=True)).to_be_visible()
    window.shoot("on-the-host")
    window.axe()
    press(page, "Unload")
    expect(page.get_by_text(f"{BUILT_IN} is unloaded.")).to_be_visible()
    expect(page.get_by_text("Not loaded").first).to_be_visible()
    press(page, "Load")
    expect(page.get_by_text(f"{BUILT_IN} is loaded.")).to_be_visible()
    expect(page.get_by_text("In memory", exact=True)).to_be_visible()


def test_routing_is_explained_attempt_by_attempt(windows: Windows, site: Site, upstream: Upstream) -> None:
    window = windows()
    site.sign_in(window, path="/models/careful")
    page = window.page
    attempts = page.get_by_role("list", name="Attempts").get_by_role("listitem")
    expect(attempts).to_have_count(2)
    expect(attempts.nth(0)).to_contain_text("careful.first")
    expect(attempts.nth(1)).to_contain_text("careful.second")
    upstream.script("careful.first", Fail(500))
    key = site.server.create_key()

    def rests() -> bool:
        assert site.server.call("/v1/chat/completions", key=key.key, json=chat("careful")).status == 200
        first = site.api("GET", "/models/careful", 200)["deployments"][0]
        return first["health"]["state"] == "cooling"

    eventually(rests, "the first place to rest")
    expect(page.get_by_role("region", name="What answers")).to_contain_text("It failed.")
    window.shoot("explained", full_page=True)
    window.axe()
    page.get_by_label("Region", exact=True).select_option("")
    page.get_by_label("Tags").fill("nowhere")
    left_out = page.get_by_role("region", name="Left out")
    expect(left_out).to_contain_text("careful.first")
    expect(page.get_by_text("No place can take a request like this.")).to_be_visible()


def test_versions_are_added_promoted_rolled_back_and_removed(windows: Windows, site: Site, tmp_path: Path) -> None:
    narrow, wide = encoder(tmp_path / "narrow", 8), encoder(tmp_path / "wide", 16)
    window = windows()
    window.forgive("status of 404", "/watch")
    window.forgive("status of 404", "/hosted-models/")
    site.sign_in(window, path="/local-models?tab=registered")
    page = window.page
    page.get_by_role("button", name="Add local model").first.click()
    page.get_by_label("Name", exact=True).fill("encoder")
    page.get_by_label("Source", exact=True).fill(str(narrow))
    answer(page, "Fetch it")
    alias = page.get_by_role("listitem").filter(has_text="production")
    expect(alias).to_contain_text("v1")
    expect(page.get_by_role("table", name="Imports")).to_contain_text("Done")
    window.shoot("imported")
    window.axe()

    press(page, "Add version")
    page.get_by_label("Source", exact=True).fill(str(wide))
    answer(page, "Fetch it")
    page.get_by_role("tab", name="Versions").click()
    second = page.get_by_role("row").filter(has_text="v2")
    expect(second).to_contain_text("None")
    press(page, "Actions for v2")
    page.get_by_role("menuitem", name="Promote").click()
    page.get_by_label("Reason").fill("it knows more words")
    answer(page, "Promote")
    expect(alias).to_contain_text("v2")
    expect(second).to_contain_text("Ready")
    window.shoot("promoted")
    eventually(lambda: width(site) == 16, "the new version to answer")

    press(page, "Roll back")
    answer(page, "Roll back")
    expect(alias).to_contain_text("v1")
    page.get_by_role("tab", name="History").click()
    history = page.get_by_role("table", name="History")
    expect(history).to_contain_text("it knows more words")
    expect(history).to_contain_text("Rolled back")
    window.shoot("history")
    window.axe()
    eventually(lambda: width(site) == 8, "the old version to answer again")


def width(site: Site) -> int:
    body = {"model": "encoder", "input": ["one"]}
    found = site.server.call("/v1/embeddings", key=site.server.admin_key, json=body)
    return len(found.json["data"][0]["embedding"]) if found.status == 200 else 0


def test_a_provider_is_tried_and_added_and_its_model_is_called(
    windows: Windows, site: Site, upstream: Upstream
) -> None:
    window = windows()
    site.sign_in(window, path="/providers")
    page = window.page
    expect(page.get_by_role("row").filter(has_text="lab")).to_contain_text("polyforge.yaml, read-only")
    window.axe()
    press(page, "Add provider")
    page.get_by_label("Name", exact=True).fill("team")
    page.get_by_label("Base URL").fill(upstream.url)
    page.get_by_label("API key").fill(UPSTREAM_KEY)
    press(page, "Test call")
    expect(page.get_by_text("It answers, in")).to_be_visible()
    expect(page.get_by_text("gpt-upstream, llama-upstream")).to_be_visible()
    window.shoot("tested")
    window.axe()
    answer(page, "Add provider")
    page.get_by_role("checkbox", name="gpt-upstream").check()
    page.get_by_label("Before each name").fill("team/")
    window.shoot("its-models")
    answer(page, "Add 1 model")
    expect(page.get_by_text("1 model is added.")).to_be_visible()
    panel = page.get_by_role("dialog")
    expect(panel.get_by_role("link", name="team/gpt-upstream")).to_be_visible()
    expect(panel).not_to_contain_text(UPSTREAM_KEY)
    window.shoot("added")
    window.axe()
    key = site.server.create_key()
    body = chat("team/gpt-upstream")
    eventually(
        lambda: site.server.call("/v1/chat/completions", key=key.key, json=body).status == 200,
        "the new model to answer",
    )

    press(page, "Remove")
    expect(page.get_by_role("dialog")).to_contain_text("team/gpt-upstream")
    window.shoot("removing")
    page.get_by_label("Remove these models too").check()
    answer(page, "Remove")
    expect(page.get_by_text("team is removed.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="team")).to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="lab")).to_have_count(1)


@pytest.mark.parametrize(
    "path", ["/models", "/models/careful", f"/local-models/{BUILT_IN_PATH}", "/providers?open=lab"]
)
def test_pages_fit_a_phone_in_the_dark(windows: Windows, site: Site, path: str) -> None:
    window = windows(viewport=NARROW, color_scheme="dark")
    site.sign_in(window, path=path)
    page = window.page
    expect(page.get_by_text("Ready", exact=True).locator("visible=true").first).to_be_visible()
    window.settle()
    assert page.evaluate("scrollY") == 0, "it opens at its top, whatever lies below"
    window.shoot("narrow", full_page=True)
    window.fits()
    window.axe()


def test_who_may_only_look_is_offered_nothing_more(windows: Windows, site: Site) -> None:
    window = windows()
    vera = site.person("vera@forge.example", "viewer")
    site.sign_in(window, vera, path="/models")
    page = window.page
    expect(page.get_by_role("row").filter(has_text="assistant")).to_be_visible()
    expect(page.get_by_role("button", name="Add model")).to_have_count(0)
    expect(page.get_by_role("navigation").get_by_role("link", name="Providers")).to_have_count(0)
    window.open(f"/local-models/{BUILT_IN_PATH}")
    expect(page.get_by_text("In memory", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Unload")).to_have_count(0)
