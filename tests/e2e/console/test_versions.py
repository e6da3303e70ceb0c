"""Versions of one's own models: somebody else approves, a folder is watched, and what is under way is stopped."""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.file_server import FileServer, serving_files_aside
from tests.support.site import Site
from tests.support.small_encoders import encoder
from tests.support.waiting import eventually

LOOKS_MS = 180_000
"""A source that is watched is looked at some times before what is there counts as whole."""
ABSENT = (("status of 404", "/watch"), ("status of 404", "/hosted-models/"))
"""What is asked for where there may be none."""
BIG = 3_000_000


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    """A web server that can stop in the middle of a file."""
    with serving_files_aside() as served:
        yield served


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def answer(page: Page, name: str) -> None:
    """Press the button at the end of the dialog that is open."""
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def add_version(site: Site, model: str, folder: Path, **more: Any) -> None:
    """A version, made."""
    wanted = site.api("POST", "/models", 202, {"name": model, "source": folder.as_uri(), **more})
    path = f"/models/{model}/imports/{wanted['id']}"
    eventually(lambda: site.api("GET", path, 200)["state"] == "done", f"a version of {model}")


def width(site: Site, model: str) -> int:
    """How many numbers the vectors of a model have now; 0 while it does not answer."""
    body = {"model": model, "input": ["one"]}
    found = site.server.call("/v1/embeddings", key=site.server.admin_key, json=body)
    return len(found.json["data"][0]["embedding"]) if found.status == 200 else 0


def open_as(site: Site, window: Window, path: str, **options: Any) -> Page:
    for parts in ABSENT:
        window.forgive(*parts)
    site.sign_in(window, path=path, **options)
    return window.page


def test_a_guarded_alias_moves_once_somebody_else_approves(site: Site, windows: Windows, tmp_path: Path) -> None:
    for numbers in (8, 16):
        add_version(site, "guarded", encoder(tmp_path / str(numbers), numbers))
    site.api("POST", "/models/guarded/promote", 200, {"version": 1})
    ada, hedy = windows("ada"), windows("hedy")
    person = site.person("hedy@forge.example", "developer", "Hedy Lamarr")
    page = open_as(site, ada, "/local-models/guarded")
    press(page, "Actions for guarded")
    page.get_by_role("menuitem", name="Edit").click()
    page.get_by_label("Aliases that need approval").fill("production")
    ada.shoot("guarding")
    ada.axe()
    answer(page, "Save")
    expect(page.get_by_text("needs approval", exact=True)).to_be_visible()

    asker = open_as(site, hedy, "/local-models/guarded", person=person)
    ask_for_the_second(asker, "it knows more words")
    hedy.shoot("asked")
    asker.get_by_role("tab", name="History").click()
    mine = waiting(asker)
    expect(mine).to_contain_text("Nobody yet")
    expect(asker.get_by_role("button", name="Approve")).to_have_count(0)
    hedy.shoot("waiting")
    hedy.axe()

    page.get_by_role("tab", name="History").click()
    waiting(page).get_by_role("button", name="Reject").click()
    expect(page.get_by_role("dialog")).to_contain_text("it knows more words")
    page.get_by_label("Reason").fill("not measured yet")
    ada.shoot("rejecting")
    ada.axe()
    answer(page, "Reject")
    expect(page.get_by_text("production stays where it was.")).to_be_visible()
    rejected = page.get_by_role("table", name="History").get_by_role("row").filter(has_text="Rejected")
    expect(rejected).to_contain_text("Ada Lovelace: not measured yet")
    eventually(lambda: width(site, "guarded") == 8, "the first version to answer still")

    asker.get_by_role("tab", name="Versions").click()
    ask_for_the_second(asker, "now it is measured")
    waiting(page).get_by_role("button", name="Approve").click()
    answer(page, "Approve")
    expect(page.get_by_text("production points at version 2 now.")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="production")).to_contain_text("v2")
    ada.shoot("approved")
    ada.axe()
    told = [(each["version"], each["state"]) for each in site.api("GET", "/models/guarded/deployments", 200)["data"]]
    assert told == [(2, "done"), (2, "rejected"), (1, "done")]
    eventually(lambda: width(site, "guarded") == 16, "the approved version to answer")


def ask_for_the_second(page: Page, reason: str) -> None:
    press(page, "Actions for v2")
    page.get_by_role("menuitem", name="Promote").click()
    expect(page.get_by_text("This alias moves only once somebody else approves.")).to_be_visible()
    page.get_by_label("Reason").fill(reason)
    answer(page, "Ask for approval")
    expect(page.get_by_text("production waits until somebody else approves version 2.").last).to_be_visible()


def waiting(page: Page) -> Locator:
    """What waits for approval in the history that is open."""
    return page.get_by_role("table", name="History").get_by_role("row").filter(has_text="Waits for approval")


def test_what_is_new_in_a_watched_folder_becomes_a_version(site: Site, window: Window, tmp_path: Path) -> None:
    folder = encoder(tmp_path / "published", 8)
    add_version(site, "growing", folder, promote_to="production")
    page = open_as(site, window, "/local-models/growing?tab=imports")
    press(page, "Watch a source")
    page.get_by_label("Source", exact=True).fill(str(folder))
    page.get_by_label("Every so many minutes").fill("0.17")
    page.get_by_label("Promote to").fill("production")
    window.shoot("watching")
    window.axe()
    answer(page, "Save")
    expect(page.get_by_text(f"{folder.as_uri()} is looked at every 10 s.")).to_be_visible()
    imports = page.get_by_role("table", name="Imports").get_by_role("row")
    expect(imports.filter(has_text="Done")).to_have_count(2, timeout=LOOKS_MS)
    encoder(folder, 16)
    made = imports.filter(has_text="v2")
    expect(made).to_contain_text("Done", timeout=LOOKS_MS)
    alias = page.get_by_role("listitem").filter(has_text="production")
    expect(alias).to_contain_text("v2")
    window.shoot("came")
    window.axe()
    eventually(lambda: width(site, "growing") == 16, "the new version to answer")
    press(page, "Stop watching")
    answer(page, "Stop watching")
    expect(page.get_by_text("New versions are made by hand.")).to_be_visible()
    assert site.server.api("GET", "/models/growing/watch").status == 404


def test_an_import_under_way_is_stopped(site: Site, windows: Windows, files: FileServer) -> None:
    content = bytes(BIG)
    files.files["/slow.onnx"] = content
    files.stalls = BIG // 3
    window, narrow = windows(), windows("narrow", viewport=NARROW, color_scheme="dark")
    page = open_as(site, window, "/local-models?tab=registered")
    page.get_by_role("button", name="Add local model").first.click()
    page.get_by_label("Name", exact=True).fill("slow")
    page.get_by_label("Comes from").select_option("https")
    page.get_by_label("Source", exact=True).fill(f"{files.url}/slow.onnx")
    page.get_by_label("SHA-256").fill(sha256(content).hexdigest())
    window.shoot("form")
    window.axe()
    answer(page, "Fetch it")
    row = page.get_by_role("table", name="Imports").get_by_role("row").filter(has_text="slow.onnx")
    expect(row).to_contain_text(re.compile(r"Fetching.* 1 MB of 3 MB"))
    expect(page.get_by_text("There is no version yet.")).to_be_visible()
    window.shoot("under-way")
    window.axe()
    open_as(site, narrow, "/local-models/slow?tab=imports")
    expect(narrow.page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    narrow.shoot("under-way", full_page=True)
    narrow.fits()
    row.get_by_role("button", name="Stop", exact=True).click()
    expect(row).to_contain_text("Stopped")
    expect(row.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    window.shoot("stopped")
    assert [each["state"] for each in site.api("GET", "/models/slow/imports", 200)["data"]] == ["cancelled"]
    assert site.api("GET", "/models/slow/versions", 200)["data"] == []
    eventually(lambda: all(writer.is_closing() for writer in files.writers), "the download to end")
