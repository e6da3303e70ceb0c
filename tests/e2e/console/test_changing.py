"""What was set up once is changed later: a provider, a model, and what the settings file declares, which returns."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Serve
from tests.e2e.console.conftest import TOKENS
from tests.support.browser import Window
from tests.support.clients import chat
from tests.support.server import Key
from tests.support.settings import UPSTREAM_KEY, settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
MODEL = "team/rivers"
KNOWN_THERE = "gpt-upstream"


def declared(upstream: Upstream, **models: Any) -> dict[str, Any]:
    """Settings whose secrets lie elsewhere, so that one can return to them."""
    lab = {"use": "openai", "base_url": upstream.url, "api_key": "env:LAB_KEY"}
    every = {**solo("assistant", price=TOKENS), **models}
    return settings(upstream, every, providers={"lab": lab}, egress={"allow": ["127.0.0.0/8"]})


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """One model in the file."""
    upstream.models = [KNOWN_THERE, "llama-upstream"]
    return declared(upstream)


@pytest.fixture(scope="module")
def empty_site(built_console: None, serve: Serve, upstream: Upstream, site_settings: dict[str, Any]) -> Site:
    """An installation that has the provider's key in its environment."""
    return Site(serve(site_settings, environ={"LAB_KEY": UPSTREAM_KEY}), upstream)


@pytest.fixture(scope="module")
def key(site: Site) -> Key:
    """A key that calls a model of a provider, both added over the API."""
    account = {"base_url": site.upstream.url, "api_key": UPSTREAM_KEY}
    site.api("POST", "/providers", 201, {"name": "team", "use": "openai", "settings": account})
    place = {"provider": "team", "model": KNOWN_THERE}
    site.api("POST", "/models/declarations", 201, {"name": MODEL, "deployments": [place], "price": TOKENS})
    made = site.server.create_key(name="rivers")
    eventually(lambda: ask(site, made, MODEL) == 200, "the added model to answer")
    return made


def ask(site: Site, key: Key, model: str) -> int:
    """The status of one chat."""
    return site.server.call(CHAT, key=key.key, json=chat(model, max_tokens=5)).status


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def answer(page: Page, name: str) -> None:
    """Press the button at the end of the dialog that is open."""
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def test_a_provider_is_changed_and_keeps_its_key(site: Site, window: Window, key: Key) -> None:
    site.sign_in(window, path="/providers?open=team")
    page = window.page
    press(page, "Edit")
    dialog = page.get_by_role("dialog", name="Change team")
    expect(dialog.get_by_label("Name", exact=True)).to_be_disabled()
    expect(dialog.get_by_text("One is kept, sealed.")).to_be_visible()
    dialog.get_by_text("More settings").click()
    dialog.get_by_label("More headers").fill("X-Team: blue")
    press(page, "Test call")
    expect(dialog.get_by_text("It answers, in")).to_be_visible()
    window.shoot("changed")
    window.axe()
    answer(page, "Save")
    expect(page.get_by_text("Saved. Every worker has it within seconds.")).to_be_visible()
    panel = page.get_by_role("dialog", name="team", exact=True)
    expect(panel).to_contain_text("X-Team: blue")
    expect(panel).not_to_contain_text(UPSTREAM_KEY)
    window.shoot("panel")
    window.axe()

    def arrives() -> bool:
        assert ask(site, key, MODEL) == 200
        return site.upstream.requests(KNOWN_THERE)[-1].headers.get("x-team") == "blue"

    eventually(arrives, "a call with the new header and the old key")


def test_a_change_that_cannot_be_is_refused_at_its_field_and_changes_nothing(
    site: Site, window: Window, key: Key
) -> None:
    before = site.api("GET", "/providers/team", 200)
    site.sign_in(window, path="/providers?open=team")
    page = window.page
    press(page, "Edit")
    address = page.get_by_label("Base URL")
    expect(address).to_have_value(site.upstream.url)
    address.fill("not an address")
    window.forgive("/providers/team", "status of 4")
    answer(page, "Save")
    expect(address).to_have_attribute("aria-invalid", "true")
    window.shoot("refused")
    window.axe()
    answer(page, "Cancel")
    assert site.api("GET", "/providers/team", 200) == before
    assert ask(site, key, MODEL) == 200


def test_a_model_gets_another_place_and_another_price(site: Site, window: Window, key: Key) -> None:
    site.sign_in(window, path="/models/team%2Frivers")
    page = window.page
    press(page, f"Actions for {MODEL}")
    page.get_by_role("menuitem", name="Edit").click()
    dialog = page.get_by_role("dialog", name=f"Change {MODEL}")
    press(page, "Add a place")
    dialog.get_by_label("Provider").nth(1).select_option("lab")
    dialog.get_by_label("Its name there").nth(1).fill("llama-upstream")
    dialog.get_by_label("Turn").nth(1).fill("-1")
    dialog.get_by_label("Output, USD per 1M").fill("4.5")
    window.forgive("/declaration", "status of 4")
    answer(page, "Save")
    expect(dialog.get_by_label("Turn").nth(1)).to_have_attribute("aria-invalid", "true")
    window.shoot("refused")
    window.axe()
    dialog.get_by_label("Turn").nth(1).fill("1")
    answer(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    answers = page.get_by_role("region", name="What answers")
    expect(answers.get_by_role("row").filter(has_text="llama-upstream")).to_contain_text("lab")
    expect(answers.get_by_role("row").filter(has_text=KNOWN_THERE)).to_contain_text("$4.50 out")
    window.shoot("changed", full_page=True)
    window.axe()
    model = site.api("GET", "/models/team/rivers", 200)
    places = [(one["provider"], one["model"], one["priority"], one["price"]["output"]) for one in model["deployments"]]
    assert places == [("team", KNOWN_THERE, 0, 4.5), ("lab", "llama-upstream", 1, 4.5)]
    assert ask(site, key, MODEL) == 200
    press(page, f"Actions for {MODEL}")
    page.get_by_role("menuitem", name="Edit").click()
    expect(dialog.get_by_label("Output, USD per 1M")).to_have_value("4.5")
    dialog.get_by_role("button", name="Remove this place").nth(1).click()
    answer(page, "Save")
    expect(answers.get_by_role("row").filter(has_text="llama-upstream")).to_have_count(0)


def test_an_earlier_configuration_returns_and_the_history_tells_who(site: Site, window: Window, key: Key) -> None:
    first = newest(site)["version"]
    site.server.declare(declared(site.upstream, **solo("newcomer")))
    eventually(lambda: newest(site)["version"] == first + 1, "the changed file is in force")
    eventually(lambda: ask(site, key, "newcomer") == 200, "the newcomer to answer")
    site.sign_in(window, path="/settings?tab=configuration")
    page = window.page
    page.get_by_role("row", name=re.compile(f"^{first} Earlier")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Compared with").select_option(str(first + 1))
    expect(dialog.get_by_role("row", name=re.compile("models.newcomer")).first).to_be_visible()
    window.shoot("earlier")
    window.axe()
    press(page, "Return to this version")
    asked = page.get_by_role("dialog", name=f"Return to version {first}?")
    window.shoot("asked")
    window.axe()
    asked.get_by_role("button", name="Return to this version").click()
    expect(page.get_by_text(f"Version {first} is in force again, as version {first + 2}.")).to_be_visible()
    row = page.get_by_role("row", name=re.compile(f"^{first + 2} In force"))
    expect(row).to_contain_text(f"a return to version {first}")
    expect(row).to_contain_text("Ada Lovelace")
    expect(page.get_by_role("row", name=re.compile(f"^{first + 1} Earlier"))).to_be_visible()
    window.shoot("history")
    window.axe()
    row.click()
    expect(dialog.get_by_text("Ada Lovelace")).to_be_visible()
    expect(dialog.get_by_role("button", name="Return to this version")).to_have_count(0)
    window.shoot("returned")
    made = newest(site)
    assert (made["source"], made["of_version"], made["active"]) == ("rollback", first, True)
    eventually(lambda: ask(site, key, "newcomer") == 404, "the newcomer to go")
    assert ask(site, key, "assistant") == 200

    window.open("/audit?action=configuration.*")
    expect(page.get_by_role("row", name=re.compile("configuration.*Ada Lovelace"))).to_be_visible()
    window.shoot("audit")


def newest(site: Site) -> dict[str, Any]:
    """The latest version of the configuration, as the API has it."""
    return site.api("GET", "/configurations?limit=1", 200)["data"][0]
