"""Ways in that others have a part in: an identity provider, and the message that shows whose an address is."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.console.conftest import Windows
from tests.support.browser import NARROW, Window
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, SigningKey
from tests.support.mail import MailServer
from tests.support.ports import LOOPBACK
from tests.support.settings import settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

ROSALIND = {
    "sub": "rosalind-1",
    "email": "rosalind@forge.example",
    "email_verified": True,
    "name": "Rosalind Franklin",
    "groups": ["lab"],
}
LINK = re.compile(r"https?://\S+/auth/verify#token=\S+")


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    """Where people have accounts already."""
    with IdentityProvider(SigningKey("first")) as started:
        yield started


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    """What brings messages."""
    with MailServer() as started:
        yield started


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream, provider: IdentityProvider, mail: MailServer) -> dict[str, Any]:
    """An installation that trusts the provider, and sends messages."""
    works = {
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "label": "Forge Works",
        "groups_claim": "groups",
        "roles": {"lab": "developer"},
    }
    smtp = {"use": "smtp", "host": LOOPBACK, "port": mail.port, "security": "none", "sender": "forge@forge.example"}
    return settings(upstream, solo("assistant"), people={"identity_providers": {"works": works}, "notifier": smtp})


def continue_at_the_provider(page: Page) -> None:
    page.get_by_role("button", name=re.compile("Forge Works")).click()


def has_arrived(page: Page, url: str) -> None:
    expect(page.get_by_role("navigation", name="Menu")).to_be_visible()
    expect(page).to_have_url(url)


def me(window: Window) -> dict[str, Any]:
    """Who the window's session is, as the API has it."""
    return window.context.request.get(f"{window.site}/api/v1/me").json()


def test_an_identity_provider_brings_somebody_new_and_knows_them_again(
    site: Site, provider: IdentityProvider, windows: Windows
) -> None:
    provider.refuses, provider.person = False, dict(ROSALIND)
    window = windows()
    window.forgive("another origin", provider.issuer)
    page = window.open("/keys")
    expect(page.get_by_role("button", name="Continue with Forge Works")).to_be_visible()
    window.shoot("sign-in")
    window.axe()
    continue_at_the_provider(page)
    has_arrived(page, f"{site.url}/keys")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    first = me(window)
    assert (first["user"]["email"], first["user"]["has_password"]) == (ROSALIND["email"], False)

    window.open("/profile")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Rosalind Franklin")
    expect(page.get_by_text("Confirmed", exact=True)).to_be_visible()
    expect(page.get_by_text("Through your identity provider")).to_be_visible()
    expect(page.get_by_label("Your password now")).to_have_count(0)
    expect(page.get_by_role("button", name="Turn on")).to_have_count(0)
    expect(page.get_by_role("table")).to_be_visible()
    window.shoot("profile", full_page=True)
    window.axe()

    page.get_by_role("button", name="Your account").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    provider.person["name"] = "R. Franklin"
    continue_at_the_provider(page)
    has_arrived(page, f"{site.url}/")
    again = me(window)
    assert (again["id"], again["name"]) == (first["id"], "Rosalind Franklin")

    ada = windows("ada")
    site.sign_in(ada, path="/people")
    expect(ada.page.get_by_role("row", name=re.compile("works.lab.*Developer"))).to_be_visible()
    ada.shoot("members")


def test_it_fits_a_telephone_in_the_dark(site: Site, provider: IdentityProvider, windows: Windows) -> None:
    provider.refuses, provider.person = False, dict(ROSALIND)
    window = windows(viewport=NARROW, color_scheme="dark", locale="hi-IN")
    window.forgive("another origin", provider.issuer)
    page = window.open("/profile")
    continue_at_the_provider(page)
    expect(page.get_by_role("heading", name="प्रोफ़ाइल")).to_be_visible()
    expect(page.get_by_role("table")).to_be_visible()
    window.shoot("profile", full_page=True)
    window.axe()
    window.fits()


def test_who_is_kept_out_is_told_why(site: Site, provider: IdentityProvider, window: Window) -> None:
    window.forgive("another origin", provider.issuer)
    provider.refuses = True
    page = window.open("/sign-in")
    continue_at_the_provider(page)
    expect(page.get_by_text("The identity provider did not sign you in.")).to_be_visible()
    window.shoot("refused")
    window.axe()
    provider.refuses = False
    provider.person = {**ROSALIND, "sub": "eve-1", "email": "eve@forge.example", "groups": []}
    continue_at_the_provider(page)
    expect(page.get_by_text("You are known, but have no role here yet.")).to_be_visible()
    provider.person = {**ROSALIND, "sub": "mallory-1", "email": "mallory@forge.example", "email_verified": False}
    continue_at_the_provider(page)
    expect(page.get_by_text("Your e-mail address is not confirmed at the identity provider")).to_be_visible()
    assert me(window).get("id") is None


def test_an_address_is_confirmed_by_the_link_that_was_sent_to_it(site: Site, mail: MailServer, window: Window) -> None:
    lise = site.person("lise@forge.example", "viewer", "Lise Meitner")
    first = eventually(lambda: links(mail, lise.email), "the first message")
    site.sign_in(window, lise, "/profile")
    page = window.page
    expect(page.get_by_text("Not confirmed")).to_be_visible()
    window.shoot("not-confirmed")
    window.axe()
    page.get_by_role("button", name="Send the link again").click()
    expect(page.get_by_text(f"A link is on its way to {lise.email}.")).to_be_visible()
    link = eventually(lambda: links(mail, lise.email)[len(first) :], "another message")[0]
    page.goto(link)
    expect(page.get_by_role("heading", name="Confirm your e-mail address")).to_be_visible()
    assert "token" not in page.url, "the secret stays in the address"
    window.shoot("confirm")
    window.axe()
    page.get_by_role("button", name="Confirm").click()
    has_arrived(page, f"{site.url}/profile")
    expect(page.get_by_text("Your e-mail address is confirmed.")).to_be_visible()
    expect(page.get_by_text("Confirmed", exact=True)).to_be_visible()
    window.shoot("confirmed")
    assert me(window)["user"]["verified"] is True


def test_who_is_not_signed_in_confirms_too_and_no_link_works_twice(
    site: Site, mail: MailServer, windows: Windows
) -> None:
    emilie = site.person("emilie@forge.example", "viewer", "Émilie du Châtelet")
    link = eventually(lambda: links(mail, emilie.email), "the message")[0]
    window = windows()
    page = window.page
    page.goto(link)
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Your e-mail address is confirmed.")).to_be_visible()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    window.shoot("sign-in")
    again = windows("again")
    again.forgive("/auth/verify", "status of 401")
    again.page.goto(link)
    again.page.get_by_role("button", name="Confirm").click()
    expect(again.page.get_by_text("The link is wrong, too old, or was used before.")).to_be_visible()
    again.shoot("used-before")
    again.axe()
    again.page.get_by_role("link", name="Ask for another on your profile").click()
    expect(again.page).to_have_url(f"{site.url}/sign-in?then=%2Fprofile")


def links(mail: MailServer, email: str) -> list[str]:
    """The links that were sent to somebody to confirm their address, oldest first."""
    sent = [body for recipients, body in list(mail.messages) if email in recipients]
    texts = [message_from_bytes(body, policy=default).get_content() for body in sent]
    return [found[0] for text in texts if (found := LINK.search(text))]
