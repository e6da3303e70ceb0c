"""People: a colleague is invited to a narrow role and may do no more; groups, roles of one's own, service accounts."""

import re

from playwright.sync_api import expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.site import PASSWORD, Site


def test_an_invited_viewer_sees_and_changes_nothing(site: Site, windows: Windows) -> None:
    ada, vera = windows("ada"), windows("vera")
    site.sign_in(ada, path="/people")
    page = ada.page
    page.get_by_role("button", name="Invite", exact=True).click()
    dialog = page.get_by_role("dialog")
    ada.forgive("/invitations", "status of 400")
    dialog.get_by_label("E-mail address").fill("not an address")
    dialog.get_by_role("button", name="Send the invitation").click()
    expect(dialog.get_by_label("E-mail address")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("E-mail address").fill("vera@forge.example")
    dialog.get_by_label("Role").select_option("viewer")
    expect(dialog.get_by_text("Sees, changes nothing.")).to_be_visible()
    ada.shoot("invite")
    ada.axe()
    dialog.get_by_role("button", name="Send the invitation").click()
    expect(page.get_by_text("vera@forge.example is invited.")).to_be_visible()
    page.get_by_role("tab", name="Invitations").click()
    expect(page.get_by_role("row", name=re.compile("vera@forge.example.*Waiting"))).to_be_visible()
    ada.shoot("invitations")
    ada.axe()

    page = vera.page
    page.goto(site.link("vera@forge.example"))
    expect(page.get_by_text("Viewer", exact=True)).to_be_visible()
    vera.shoot("invited")
    vera.axe()
    page.get_by_label("Your name").fill("Vera Rubin")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Accept the invitation").click()
    menu = page.get_by_role("navigation", name="Menu")
    expect(menu.get_by_role("link", name="Keys")).to_be_visible()
    expect(menu.get_by_role("link", name="People")).to_have_count(0)
    menu.get_by_role("link", name="Keys").click()
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    expect(page.get_by_text("No keys yet").or_(page.get_by_role("table"))).to_be_visible()
    expect(page.get_by_role("button", name="Create key")).to_have_count(0)
    vera.shoot("keys")
    vera.open("/people")
    expect(page.get_by_text("It takes the permission members:read.")).to_be_visible()
    vera.shoot("not-allowed")
    vera.axe()

    page = ada.page
    ada.open("/people")
    row = page.get_by_role("row", name=re.compile("Vera Rubin.*Viewer"))
    row.get_by_role("button", name="Actions for Vera Rubin").click()
    page.get_by_role("menuitem", name="Change the role").click()
    dialog.get_by_label("Role").select_option("developer")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name=re.compile("Vera Rubin.*Developer"))).to_be_visible()
    vera.page.reload()
    expect(vera.page.get_by_role("tab", name="Members")).to_be_visible()
    expect(vera.page.get_by_role("button", name="Invite")).to_have_count(0)


def test_a_role_of_ones_own_is_given_through_a_group(site: Site, window: Window) -> None:
    site.person("jean@forge.example", "viewer", "Jean Bartik")
    site.sign_in(window, path="/people?tab=roles")
    page = window.page
    dialog = page.get_by_role("dialog")
    page.get_by_role("row", name=re.compile("^Developer")).click()
    expect(dialog.get_by_text("Create, change and revoke keys")).to_be_visible()
    window.shoot("built-in-role")
    window.axe()
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Create role").click()
    dialog.get_by_label("Name", exact=True).fill("auditor")
    dialog.get_by_label("Read the audit log").check()
    dialog.get_by_label("See people, groups and invitations").check()
    window.shoot("role")
    window.axe()
    dialog.get_by_role("button", name="Create role").click()
    expect(page.get_by_role("row", name=re.compile("auditor.*audit:read, members:read"))).to_be_visible()
    window.shoot("roles")

    page.get_by_role("tab", name="Groups").click()
    page.get_by_role("button", name="Create group").first.click()
    dialog.get_by_label("Name", exact=True).fill("Watchers")
    dialog.get_by_role("button", name="Create group").click()
    page.get_by_role("row", name=re.compile("Watchers")).click()
    dialog.get_by_role("button", name="Add a member").click()
    dialog.get_by_label("E-mail address").fill("jean@forge.example")
    dialog.get_by_role("button", name="Add a member").click()
    expect(dialog.get_by_role("cell", name="Jean Bartik", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Give a role").click()
    dialog.get_by_label("Role").select_option("auditor")
    dialog.get_by_role("button", name="Give the role").click()
    expect(dialog.get_by_role("cell", name="auditor")).to_be_visible()
    window.shoot("group")
    window.axe()

    page.goto(f"{site.url}/people")
    expect(page.get_by_role("row", name=re.compile("Watchers.*auditor"))).to_be_visible()
    window.shoot("members")
    window.axe()


def test_a_service_account_is_made_shown_once_and_disabled(site: Site, window: Window) -> None:
    site.sign_in(window, path="/people?tab=service-accounts")
    page = window.page
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Create service account").first.click()
    dialog.get_by_label("Name").fill("nightly report")
    dialog.get_by_label("Role").select_option("analyst")
    dialog.get_by_role("button", name="Create service account").click()
    expect(dialog.get_by_text("nightly report is ready")).to_be_visible()
    window.shoot("issued")
    window.axe()
    account, secret = (dialog.get_by_role("code").nth(index).inner_text() for index in (0, 1))
    assert token_of(site, account, secret) == 200
    dialog.get_by_role("button", name="I have kept it").click()
    row = page.get_by_role("row", name=re.compile("nightly report"))
    expect(row).to_contain_text("Active")
    expect(page.get_by_text(secret)).to_have_count(0)
    row.get_by_role("button", name="Actions for nightly report").click()
    page.get_by_role("menuitem", name="Disable").click()
    dialog.get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("Disabled")
    assert token_of(site, account, secret) == 401


def token_of(site: Site, account: str, secret: str) -> int:
    """The status of asking for a token, as the page says how."""
    form = f"grant_type=client_credentials&client_id={account}&client_secret={secret}"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return site.server.call("/api/v1/auth/token", method="POST", body=form.encode(), headers=headers).status


def test_an_operator_shuts_an_account_and_opens_it_again(site: Site, window: Window) -> None:
    site.person("betty@forge.example", "viewer", "Betty Holberton")
    site.sign_in(window, path="/users?email=betty%40forge.example")
    page = window.page
    row = page.get_by_role("row", name=re.compile("Betty Holberton"))
    row.get_by_role("button", name="Actions for Betty Holberton").click()
    page.get_by_role("menuitem", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("Disabled")
    row.get_by_role("button", name="Actions for Betty Holberton").click()
    page.get_by_role("menuitem", name="Enable").click()
    expect(row).to_contain_text("Active")
    window.open("/users")
    expect(page.get_by_role("row", name=re.compile("Ada Lovelace.*Operator"))).to_be_visible()
    window.shoot("accounts")
    window.axe()


def test_another_project_is_chosen_and_stays_chosen(site: Site, window: Window) -> None:
    site.api("POST", "/projects", 201, {"name": "Second project"})
    site.sign_in(window, path="/keys")
    page = window.page
    page.get_by_role("button", name="Project: default").click()
    window.shoot("projects")
    page.get_by_role("menuitem", name="Second project").click()
    expect(page.get_by_role("button", name="Project: Second project")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Project: Second project")).to_be_visible()
    window.open("/profile")
    expect(page.get_by_text("Second project").last).to_be_visible()


def test_it_fits_a_telephone_in_the_dark(site: Site, windows: Windows) -> None:
    window = windows(viewport=NARROW, color_scheme="dark", locale="hi-IN")
    site.sign_in(window, path="/people")
    expect(window.page.get_by_role("table")).to_be_visible()
    window.shoot("members")
    window.axe()
    window.fits()
    window.open("/people?tab=roles")
    expect(window.page.get_by_role("table")).to_be_visible()
    window.shoot("roles")
    window.fits()
