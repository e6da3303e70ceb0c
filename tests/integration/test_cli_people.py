"""People on the command line, against a running installation with two workers."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP
from typer.testing import CliRunner, Result

from polyforge.cli import sessions
from polyforge.cli.client import ApiClient
from polyforge.cli.main import app
from polyforge.tenancy.defaults import DEFAULT_PROJECT_ID
from tests.conftest import Serve
from tests.support.people import LINK, OTHER_PASSWORD, PASSWORD
from tests.support.server import Polyforge
from tests.support.waiting import eventually

ANN, BEN = "ann@example.org", "ben@example.org"


@pytest.fixture(scope="module")
def place(serve: Serve) -> Polyforge:
    return serve({}, workers=2)


class Shell:
    """A command line of somebody, with a home of their own."""

    def __init__(self, place: Polyforge, home: Path, key: str | None = None) -> None:
        self._environ = {
            "POLYFORGE_URL": place.url,
            "XDG_CONFIG_HOME": str(home),
            "POLYFORGE_DATA": str(home),
            "POLYFORGE_API_KEY": key,
            "POLYFORGE_ADMIN_KEY": None,
            "COLUMNS": "250",
        }
        self.credentials = home / "polyforge" / "credentials.json"

    def run(self, *words: str, given: str = "") -> Result:
        return CliRunner().invoke(app, words, input=given, env=self._environ)

    def __call__(self, *words: str, given: str = "") -> str:
        done = self.run(*words, given=given)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    def json(self, *words: str, given: str = "") -> Any:
        return json.loads(self(*words, "--json", given=given))

    def fails(self, *words: str, given: str = "") -> str:
        done = self.run(*words, given=given)
        assert done.exit_code != 0
        return str(done.exception)


@pytest.fixture
def admin(place: Polyforge, tmp_path: Path) -> Shell:
    return Shell(place, tmp_path / "admin", place.admin_key)


@pytest.fixture
def ann(place: Polyforge, tmp_path: Path) -> Shell:
    return Shell(place, tmp_path / "ann")


@pytest.fixture
def ben(place: Polyforge, tmp_path: Path) -> Shell:
    return Shell(place, tmp_path / "ben")


@pytest.fixture(scope="module", autouse=True)
def first(place: Polyforge, tmp_path_factory: pytest.TempPathFactory) -> None:
    shell = Shell(place, tmp_path_factory.mktemp("first"), place.admin_key)
    made = shell.json("user", "create", ANN, "--name", "Ann", "--password-stdin", given=f"{PASSWORD}\n")
    assert made["operator"] is True


def latest_link(place: Polyforge, email: str) -> str:
    for path in sorted((place.data / "outbox").glob("*.eml"), reverse=True):
        text = path.read_text()
        if f"To: {email}\n" in text and (found := LINK.search(text)):
            return found[1]
    return ""


def test_who_signed_in_needs_no_key(ann: Shell) -> None:
    assert "pass --key" in ann.fails("key", "list")
    assert ann("login", "--email", ANN, given=f"{PASSWORD}\n").endswith(f"signed in as {ANN}\n")
    assert ann.credentials.stat().st_mode & 0o777 == 0o600
    assert ann.credentials.parent.stat().st_mode & 0o777 == 0o700
    assert ann.json("key", "create", "mine")["name"] == "mine"
    assert PASSWORD not in ann.credentials.read_text()
    assert ann("logout") == f"signed out {ANN}\n"
    assert ann("logout") == "you are not signed in\n"
    assert "pass --key" in ann.fails("key", "list")


def test_a_wrong_password_is_told_and_keeps_nothing(ann: Shell) -> None:
    assert ann.fails("login", "--email", ANN, "--password-stdin", given="wrong\n").endswith("password is wrong")
    assert not ann.credentials.exists()


def test_a_second_factor_is_asked_for(place: Polyforge, ann: Shell, admin: Shell) -> None:
    admin("user", "create", "two@example.org", "--role", "viewer", "--password-stdin", given=f"{PASSWORD}\n")
    ann("login", "--email", "two@example.org", given=f"{PASSWORD}\n")
    client = _client(place, ann)
    begun = client.post("/api/v1/me/second-factor", {"password": PASSWORD})
    totp = TOTP(begun["secret"])
    codes = client.post("/api/v1/me/second-factor/confirm", {"token": begun["token"], "code": totp.now()})["codes"]
    ann("logout")
    assert "Code" in ann("login", "--email", "two@example.org", given=f"{PASSWORD}\n{codes[0]}\n")
    ann("login", "--email", "two@example.org", "--code", codes[1], given=f"{PASSWORD}\n")
    assert ann.json("project", "list", "--mine")[0]["name"] == "default"


def test_an_operator_looks_after_users(ann: Shell, ben: Shell) -> None:
    ann("login", "--email", ANN, given=f"{PASSWORD}\n")
    made = ann.json(
        "user", "create", "gone@example.org", "--role", "developer", "--password-stdin", given=f"{PASSWORD}\n"
    )
    assert made["email"] == "gone@example.org"
    ben("login", "--email", "gone@example.org", given=f"{PASSWORD}\n")
    key = ben.json("key", "create", "theirs")
    disabled = ann.run("user", "disable", "gone@example.org")
    assert f"1 API keys that they made in project {DEFAULT_PROJECT_ID} still work" in disabled.stderr
    (left,) = ann.json("key", "list", "--created-by", made["id"])
    assert (left["id"], left["created_by"]) == (key["id"], made["id"])
    assert "session is over" in ben.fails("key", "list")
    assert "gone@example.org" in ann("user", "list")
    assert ann.json("user", "show", made["id"])["disabled_at"] is not None
    ann("user", "enable", made["id"])
    ann("user", "rm", "gone@example.org")
    assert "no user" in ann.fails("user", "show", "gone@example.org")
    assert ann.fails("user", "rm", ANN)


def test_somebody_invited_works_in_a_project(place: Polyforge, ann: Shell, ben: Shell) -> None:
    ann("login", "--email", ANN, given=f"{PASSWORD}\n")
    project = ann.json("project", "create", "lab")
    ann("org", "role", "create", "usher", "--permission", "members:read", "--permission", "organization:read")
    ann("org", "invite", BEN, "--role", "usher")
    token = eventually(lambda: latest_link(place, BEN), "the invitation is written")
    _client(place, None).post(
        "/api/v1/auth/invitations/accept", {"token": token, "name": "Ben", "password": OTHER_PASSWORD}
    )
    ben("login", "--email", BEN, given=f"{OTHER_PASSWORD}\n")
    assert BEN in ben("org", "member", "list")
    ann("org", "member", "add", BEN, "--role", "developer", "--project", project["id"])
    ben("project", "use", project["id"])
    ben("key", "create", "in the lab")
    held = [each["id"] for each in ann.json("org", "member", "list") if each["email"] == BEN and each["project_id"]]
    ann("org", "member", "set", held[0], "--role", "viewer")
    assert "you lack" in ben.fails("key", "create", "another")
    ann("org", "member", "rm", held[0])
    ann("org", "group", "create", "crew")
    ann("org", "group", "join", "crew", BEN)
    assert BEN in ann("org", "group", "members", "crew")
    ann("org", "group", "leave", "crew", BEN)
    ann("org", "group", "rm", "crew")
    waiting = ann.json("org", "invite", "late@example.org", "--role", "viewer")
    ann("org", "invitation", "revoke", waiting["id"])
    assert "late@example.org" in ann("org", "invitation", "list")
    assert ann.fails("org", "role", "rm", "usher")
    assert "usher" in ann("org", "role", "list")


def test_a_service_account_is_made_renewed_and_stopped(place: Polyforge, ann: Shell) -> None:
    ann("login", "--email", ANN, given=f"{PASSWORD}\n")
    done = ann.run("service-account", "create", "nightly", "--role", "developer")
    assert re.search(r"^secret +pfs-", done.stdout, re.MULTILINE)
    assert done.stderr.endswith("it cannot be shown again.\n")
    made = ann.json("service-account", "create", "weekly", "--role", "developer")
    account, first = made["id"], made["secret"]
    assert _token(place, account, first) == 200
    second = ann.json("service-account", "rotate", account)["secret"]
    assert (_token(place, account, first), _token(place, account, second)) == (401, 200)
    assert ann("service-account", "disable", account) == f"disabled {account}\n"
    assert _token(place, account, second) == 401
    headers, weekly, nightly = ann("service-account", "list").splitlines()
    assert headers.split() == ["id", "name", "role", "created", "disabled"]
    assert "nightly" in nightly
    assert nightly.endswith(" -")
    assert (weekly.split()[:3], weekly.endswith(" -")) == ([account, "weekly", "developer"], False)
    assert "secret" not in ann.json("service-account", "list")[0]
    assert ann("service-account", "enable", account) == f"enabled {account}\n"
    assert _token(place, account, second) == 200
    assert "no role 'emperor'" in ann.fails("service-account", "create", "x", "--role", "emperor")


def _token(place: Polyforge, account: str, secret: str) -> int:
    """The status of the answer to who asks for a token."""
    form = {"grant_type": "client_credentials", "client_id": account, "client_secret": secret}
    return httpx.post(f"{place.url}/api/v1/auth/token", data=form).status_code


def test_an_operator_makes_organizations(ann: Shell) -> None:
    ann("login", "--email", ANN, given=f"{PASSWORD}\n")
    made = ann.json("org", "create", "another")
    assert made["id"] in ann("org", "list")
    (project,) = [each for each in ann.json("project", "list", "--mine") if each["organization_id"] == made["id"]]
    ann("project", "use", project["id"])
    ann("org", "rename", "renamed")
    assert ann.json("org", "show")["name"] == "renamed"
    assert "renamed" in ann("project", "rename", project["id"], "renamed")
    assert ann("logout", "--everywhere").startswith("signed out")


def test_signing_out_everywhere_holds_in_each_worker(place: Polyforge, ann: Shell, ben: Shell) -> None:
    ann("login", "--email", ANN, given=f"{PASSWORD}\n")
    ben("login", "--email", ANN, given=f"{PASSWORD}\n")
    ann("logout", "--everywhere")
    for _ in range(20):
        assert "session is over" in ben.fails("key", "list")


def _client(place: Polyforge, shell: Shell | None) -> Any:
    session = None if shell is None else sessions.find(place.url, shell.credentials)
    return ApiClient(place.url, None, session)
