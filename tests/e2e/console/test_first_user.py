"""An installation that nobody has an account of: the first user comes by the admin key, and nobody after them does."""

from playwright.sync_api import expect

from tests.support.browser import Window
from tests.support.site import ADA, PASSWORD, Site


def test_the_first_user_comes_by_the_admin_key(empty_site: Site, window: Window) -> None:
    page = window.open("/keys")
    expect(page.get_by_role("heading", name="Welcome to Polyforge")).to_be_visible()
    window.shoot("welcome")
    window.axe()
    page.get_by_label("Admin key").fill("pf-not-the-admin-key")
    page.get_by_label("Your name").fill(ADA.name)
    page.get_by_label("E-mail address").fill(ADA.email)
    page.get_by_label("Password", exact=True).fill("short")
    create = page.get_by_role("button", name="Create the account")
    window.forgive("first-user", "status of 401")
    create.click()
    expect(page.get_by_role("alert")).to_contain_text("This is not the admin key.")
    page.get_by_label("Admin key").fill(empty_site.server.admin_key)
    window.forgive("first-user", "status of 400")
    create.click()
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text("must have 12 to 200 characters")
    window.shoot("weak-password")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    create.click()
    expect(page.get_by_role("navigation", name="Menu")).to_be_visible()
    expect(page).to_have_url(f"{empty_site.url}/")
    window.shoot("home")
    window.open("/first-user")
    expect(page.get_by_role("navigation", name="Menu")).to_be_visible()
    expect(page).to_have_url(f"{empty_site.url}/")
