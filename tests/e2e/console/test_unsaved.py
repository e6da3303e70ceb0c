"""Words that are not saved: whoever would lose them is asked first; the chat keeps its own."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.e2e.console.conftest import Windows
from tests.support.behaviours import Answer, Tokens
from tests.support.browser import NARROW, Window
from tests.support.site import Site
from tests.support.upstream import Upstream

QUESTION = "Leave without saving?"
NAME = "The forge of rivers"


def go_to(page: Page, name: str, heading: str = "") -> None:
    """Another page, by the menu."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(heading or name)


def write_in_the_profile(page: Page) -> None:
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("menuitem", name="Profile and sessions").click()
    page.get_by_label("Name", exact=True).fill(NAME)


def write_in_a_key(page: Page) -> None:
    go_to(page, "Keys")
    page.get_by_role("button", name="Create key").first.click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill(NAME)


def write_in_a_provider(page: Page) -> None:
    go_to(page, "Providers")
    page.get_by_role("button", name="Add provider").first.click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill(NAME)


def write_in_the_settings(page: Page) -> None:
    go_to(page, "Settings")
    page.get_by_role("tab", name="Organization").click()
    page.get_by_role("button", name="Rename", exact=True).first.click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill(NAME)


@pytest.mark.parametrize(
    "write",
    [write_in_the_profile, write_in_a_key, write_in_a_provider, write_in_the_settings],
    ids=lambda each: each.__name__,
)
def test_the_way_back_asks_before_it_loses_words(site: Site, window: Window, write: Callable[[Page], None]) -> None:
    site.sign_in(window, path="/usage")
    page = window.page
    write(page)
    here = page.url
    question = page.get_by_role("dialog", name=QUESTION)
    page.evaluate("history.back()")
    expect(question).to_be_visible()
    window.shoot("asked")
    window.axe()
    question.get_by_role("button", name="Stay here").click()
    expect(question).to_be_hidden()
    expect(page.get_by_label("Name", exact=True)).to_have_value(NAME)
    expect(page).to_have_url(here)
    page.evaluate("history.back()")
    question.get_by_role("button", name="Leave", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Usage")
    expect(page).to_have_url(site.url + "/usage")
    go_to(page, "Requests")


def test_whose_session_ends_is_not_asked_to_stay(site: Site, window: Window) -> None:
    site.sign_in(window, path="/usage")
    page = window.page
    write_in_the_profile(page)
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    expect(page.get_by_role("dialog", name=QUESTION)).to_be_hidden()


def test_a_slip_of_the_hand_loses_no_words_and_what_was_saved_is_not_asked_about(site: Site, windows: Windows) -> None:
    window = windows(viewport=NARROW, color_scheme="dark")
    site.sign_in(window, path="/keys")
    page = window.page
    page.get_by_role("button", name="Create key").first.click()
    form = page.get_by_role("dialog").filter(has=page.get_by_label("Name", exact=True))
    question = page.get_by_role("dialog", name=QUESTION)
    form.get_by_label("Name", exact=True).fill(NAME)
    page.keyboard.press("Escape")
    expect(question).to_be_visible()
    window.shoot("asked")
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    # A browser asks nobody when Escape is pressed again and again: the form is there all the same.
    for _ in range(4):
        page.keyboard.press("Escape")
    expect(form.get_by_label("Name", exact=True)).to_have_value(NAME)
    if question.is_visible():
        question.get_by_role("button", name="Stay here").click()
    form.get_by_role("button", name="Create key").click()
    shown = page.get_by_role("dialog", name=NAME)
    expect(shown).to_be_visible()
    heard: list[str] = []
    page.once("dialog", lambda dialog: _hear(heard, dialog))
    page.reload()
    expect(page.get_by_role("row", name=NAME)).to_be_visible()
    assert heard == ["beforeunload"], "a key that is shown once goes only with a question"


def _hear(heard: list[str], dialog: Dialog) -> None:
    heard.append(dialog.type)
    dialog.accept()


def test_a_draft_of_the_chat_is_there_on_the_way_back_and_a_chat_is_not_lost_to_another(
    site: Site, window: Window, upstream: Upstream
) -> None:
    upstream.script("assistant", Answer("The Ganga.", tokens=Tokens(3, 2)), Answer("The Kaveri.", tokens=Tokens(3, 2)))
    site.sign_in(window, path="/chat")
    page = window.page
    box = page.get_by_label("Message", exact=True)
    box.fill("Which river is the longest?")
    box.press("Enter")
    expect(page.get_by_text("The Ganga.")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("dialog").get_by_label("Name").fill("Rivers")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1, name="Rivers")).to_be_visible()
    saved = page.url
    go_to(page, "Usage")
    go_to(page, "Chat", "Rivers")
    page.get_by_role("button", name="New chat").click()
    box.fill("And in the south?")
    box.press("Enter")
    expect(page.get_by_text("The Kaveri.")).to_be_visible()
    box.fill("A draft of mine")
    go_to(page, "Models")
    page.evaluate("history.back()")
    expect(box).to_have_value("A draft of mine")
    expect(page.get_by_text("The Kaveri.")).to_be_visible()
    page.evaluate("history.go(-2)")
    question = page.get_by_role("dialog", name=QUESTION)
    expect(question).to_be_visible()
    window.shoot("another")
    question.get_by_role("button", name="Stay here").click()
    expect(page.get_by_text("The Kaveri.")).to_be_visible()
    expect(box).to_have_value("A draft of mine")
    heard: list[str] = []
    page.once("dialog", lambda dialog: _hear(heard, dialog))
    page.goto(saved)
    assert heard == ["beforeunload"]
    expect(page.get_by_text("The Ganga.")).to_be_visible()
