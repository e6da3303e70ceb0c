"""The console's site: an installation with people in it, and the ways into it that are no test's own matter."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.sync_api import BrowserContext

from tests.support.browser import Window
from tests.support.server import Polyforge
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

PASSWORD: Final = "a quiet river bends twice"
_LINK: Final = re.compile(r"https?://\S+#token=[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in."""

    email: str
    name: str
    id: str = ""
    password: str = PASSWORD


ADA: Final = Person("ada@forge.example", "Ada Lovelace")
"""The first user, who may do everything."""


@dataclass
class Site:
    """A running server with its scripted provider. `server.api` acts with the admin key."""

    server: Polyforge
    upstream: Upstream
    people: dict[str, Person] = field(default_factory=dict[str, Person])

    @property
    def url(self) -> str:
        """Where the console is."""
        return self.server.url

    def api(self, method: str, path: str, status: int, json: object = None) -> Any:
        """The answer of the management API to the admin key, which must have this status."""
        answer = self.server.api(method, path, json)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}"
        return answer.json if answer.body else None

    def found(self) -> Person:
        """Make the first user; who that is is always the same."""
        body = {"key": self.server.admin_key, "email": ADA.email, "name": ADA.name, "password": ADA.password}
        self.api("POST", "/auth/first-user", 201, body)
        self.people[ADA.email] = ADA
        return ADA

    def person(self, email: str, role: str | None = None, name: str = "") -> Person:
        """A new user, with a role in the default project."""
        body = {"email": email, "name": name or email.partition("@")[0].title(), "password": PASSWORD, "role": role}
        made = self.api("POST", "/users", 201, body)
        self.people[email] = Person(email, body["name"] or "", made["id"])
        return self.people[email]

    def sign_in(self, window: Window, person: Person = ADA, path: str = "/") -> None:
        """Put a person's session into a window and open a path; for all tests but those of signing in."""
        sign_in(window.context, self.url, person)
        window.open(path)

    def link(self, email: str) -> str:
        """The link in the latest message to an address, which the installation wrote into its outbox."""
        return eventually(lambda: self._latest(email), f"a message to {email}")

    def _latest(self, email: str) -> str:
        for path in sorted((self.server.data / "outbox").glob("*.eml"), reverse=True):
            text = path.read_text()
            if f"To: {email}\n" in text and (found := _LINK.search(text)):
                return found[0]
        return ""


def sign_in(context: BrowserContext, url: str, person: Person) -> None:
    """Give a browser's context the cookie of a new session."""
    body = {"email": person.email, "password": person.password}
    answer = context.request.post(f"{url}/api/v1/auth/sign-in", data=body)
    assert answer.ok, answer.text()
