"""Signing in: a second factor, what is wrong said at its place, a password by a link, signing out."""

from playwright.sync_api import Page, expect
from pyotp.totp import TOTP

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.site import PASSWORD, Site

NEW = "seven kettles under moonlight"


def fill_in(page: Page, email: str, password: str) -> None:
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def has_arrived(page: Page, path: str) -> None:
    expect(page.get_by_role("navigation", name="Menu")).to_be_visible()
    expect(page).to_have_url(path)


def test_what_is_wrong_is_said_and_one_arrives_where_one_wanted_to(site: Site, window: Window) -> None:
    site.person("grace@forge.example", "developer", "Grace Hopper")
    page = window.open("/keys?revoked=1")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    window.shoot("sign-in")
    window.axe()
    window.forgive("/auth/sign-in", "status of 401")
    fill_in(page, "grace@forge.example", "not her password at all")
    expect(page.get_by_role("alert")).to_contain_text("The e-mail address or the password is wrong.")
    window.shoot("wrong-password")
    window.axe()
    fill_in(page, "grace@forge.example", PASSWORD)
    has_arrived(page, f"{site.url}/keys?revoked=1")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    sign_out(page)
    window.open("/keys")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_nobody_is_led_to_another_site(site: Site, window: Window) -> None:
    site.person("mary@forge.example", "viewer", "Mary Jackson")
    page = window.open("/sign-in?then=//elsewhere.example/keys")
    fill_in(page, "mary@forge.example", PASSWORD)
    has_arrived(page, f"{site.url}/")


def test_a_second_factor_is_turned_on_asked_for_and_turned_off(site: Site, window: Window) -> None:
    person = site.person("katherine@forge.example", "viewer", "Katherine Johnson")
    site.sign_in(window, person, "/profile")
    page = window.page
    page.get_by_role("button", name="Turn on").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Your password now").fill(PASSWORD)
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog.get_by_role("img", name="The picture for your authenticator app")).to_be_visible()
    window.shoot("picture")
    window.axe()
    codes = TOTP(dialog.get_by_role("code").first.inner_text())
    dialog.get_by_label("Code from the app").fill(codes.now())
    dialog.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("heading", name="Keep your recovery codes")).to_be_visible()
    recovery = dialog.get_by_role("code").inner_text().split()
    assert len(recovery) == 10
    window.shoot("recovery-codes")
    dialog.get_by_role("button", name="I have kept them").click()
    expect(page.get_by_role("button", name="Turn off")).to_be_visible()
    sign_out(page)

    fill_in(page, person.email, PASSWORD)
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    window.shoot("second-step")
    window.axe()
    window.forgive("/auth/second-factor", "status of 401")
    page.get_by_label("Code", exact=True).fill("000000" if codes.now() != "000000" else "111111")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("The code is wrong or was used before.")
    page.get_by_role("button", name="Use a recovery code").click()
    page.get_by_label("Recovery code").fill(recovery[0])
    page.get_by_role("button", name="Continue").click()
    has_arrived(page, f"{site.url}/")

    window.open("/profile")
    page.get_by_role("button", name="Turn off").click()
    dialog.get_by_label("Your password now").fill(PASSWORD)
    dialog.get_by_label("Code, or a recovery code").fill(recovery[1])
    dialog.get_by_role("button", name="Turn off").click()
    expect(page.get_by_role("button", name="Turn on")).to_be_visible()


def test_a_forgotten_password_is_set_anew_by_a_link(site: Site, window: Window) -> None:
    person = site.person("dorothy@forge.example", "viewer", "Dorothy Vaughan")
    page = window.open("/sign-in")
    page.get_by_role("link", name="Forgotten your password?").click()
    page.get_by_label("E-mail address").fill(person.email)
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_text("the link is on its way")).to_be_visible()
    window.shoot("sent")
    page.goto(site.link(person.email))
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()
    assert "token" not in page.url, "the secret stays in the address"
    window.axe()
    page.get_by_label("New password", exact=True).fill(NEW)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("The password is set. Sign in with it.")).to_be_visible()
    fill_in(page, person.email, NEW)
    has_arrived(page, f"{site.url}/")
    page.goto(site.link(person.email))
    window.forgive("/password-reset/finish", "status of 401")
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("The link is wrong, too old, or was used before.")).to_be_visible()
    window.shoot("used-before")
    page.get_by_role("link", name="Ask for another link").click()
    expect(page.get_by_role("heading", name="Set a new password")).to_be_visible()


def test_who_is_signed_in_elsewhere_is_signed_out_there(site: Site, windows: Windows) -> None:
    here, there = windows("here"), windows("there")
    person = site.person("annie@forge.example", "viewer", "Annie Easley")
    for each in (here, there):
        site.sign_in(each, person, "/profile")
        expect(each.page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
    here.page.reload()
    here.page.get_by_role("button", name="End the session of").click()
    expect(here.page.get_by_text("The session has ended.")).to_be_visible()
    here.shoot("profile", full_page=True)
    here.axe()
    there.forgive("status of 401")
    there.page.reload()
    expect(there.page.get_by_role("heading", name="Sign in")).to_be_visible()
    here.page.get_by_role("button", name="Sign out everywhere").click()
    here.page.get_by_role("dialog").get_by_role("button", name="Sign out everywhere").click()
    expect(here.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_an_identity_provider_that_refused_is_explained(site: Site, window: Window) -> None:
    page = window.open("/sign-in?error=no_account")
    expect(page.get_by_text("Ask an administrator to invite you.")).to_be_visible()
    window.open("/sign-in?error=something_else")
    expect(page.get_by_text("Signing in at the identity provider did not work.")).to_be_visible()


def test_it_is_read_in_hindi_in_the_dark_on_a_telephone(site: Site, windows: Windows) -> None:
    window = windows(viewport=NARROW, color_scheme="dark", locale="hi-IN")
    page = window.open("/sign-in")
    expect(page.get_by_role("heading", name="साइन इन")).to_be_visible()
    window.shoot("sign-in")
    window.axe()
    window.fits()
    site.sign_in(window, path="/profile")
    expect(page.get_by_role("heading", name="प्रोफ़ाइल")).to_be_visible()
    expect(page.get_by_role("table")).to_be_visible()
    window.shoot("profile", full_page=True)
    window.axe()
    window.fits()
