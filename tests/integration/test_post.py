"""Messages of a whole installation, over a mail server whose password is a secret of the database."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.certificates import self_signed
from tests.support.mail import MailServer
from tests.support.server import Polyforge
from tests.support.waiting import eventually

ANN, BEN = "ann@example.org", "ben@example.org"
AGAIN = "a message will be sent again"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def mail(certificate: Path) -> Iterator[MailServer]:
    with MailServer(certificate) as running:
        yield running


@pytest.fixture(scope="module")
def place(serve: Serve, mail: MailServer, certificate: Path) -> Polyforge:
    where = {"use": "smtp", "host": "localhost", "port": mail.port, "ca": str(certificate)}
    account = {"username": "robot", "password": "secret:mail", "sender": "forge@example.org"}
    return serve({"people": {"notifier": {**where, **account}}})


def invite(place: Polyforge, email: str) -> None:
    answer = place.api("POST", "/invitations", {"email": email, "role": "viewer"})
    assert answer.status == 201, answer.body


def test_the_password_may_be_a_secret_that_is_set_while_messages_wait(place: Polyforge, mail: MailServer) -> None:
    invite(place, ANN)
    eventually(lambda: AGAIN in place.log, "the message waits for the password")
    assert place.api("POST", "/secrets", {"name": "mail", "value": "the first one"}).status == 201
    eventually(lambda: mail.messages, "the message is sent")
    assert mail.messages[0][0] == [ANN]
    assert base64.b64decode(mail.logins[-1]) == b"\0robot\0the first one"
    assert place.api("PUT", "/secrets/mail", {"value": "the next one"}).status == 200
    invite(place, BEN)
    eventually(lambda: len(mail.messages) == 2, "the second message is sent")
    assert base64.b64decode(mail.logins[-1]) == b"\0robot\0the next one"


def test_what_waits_is_sent_before_the_gateway_ends(place: Polyforge, mail: MailServer) -> None:
    before = len(mail.messages)
    mail.refuse["MAIL"] = b"450 later"
    invite(place, "cleo@example.org")
    eventually(lambda: re.search(r'c\*\*\*@example.org.*"seconds":10', place.log), "the message rests")
    del mail.refuse["MAIL"]
    place.restart()
    assert [to for to, _ in mail.messages[before:]] == [["cleo@example.org"]]
    assert "cleo@" not in place.log
