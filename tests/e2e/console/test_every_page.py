"""Every page that the menu leads to: nothing keeps people out of it, it fits a telephone, and it is read in Hindi."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW
from tests.support.site import Site

MENU = "nav a[href]"
FORMS: dict[str, dict[str, Any]] = {
    "dark": {"color_scheme": "dark"},
    "narrow-hindi": {"viewport": NARROW, "locale": "hi-IN"},
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", FORMS)
def test_every_page_is_for_everybody(site: Site, windows: Windows, form: str) -> None:
    window = windows(**FORMS[form])
    site.sign_in(window)
    page = window.page
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    links = page.locator(MENU).evaluate_all("(links) => links.map((link) => link.getAttribute('href'))")
    assert len(links) > 15, links
    for path in [*links, "/profile", "/no-such-page"]:
        window.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator("main [aria-busy=true]")).to_have_count(0)
        window.settle()
        assert page.evaluate("scrollY") == 0, path
        window.shoot(path.strip("/").replace("/", "-") or "home")
        window.axe()
        window.fits()
