"""What every notifier does, and what is particular to each."""

import asyncio
import base64
import email
import email.policy
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polyforge.adapters.notifiers import outbox, smtp
from polyforge.kernel.errors import NotConfigured, UpstreamFailed
from polyforge.ports.notifier import Notice, Notifier
from tests.support.certificates import self_signed
from tests.support.mail import MailServer
from tests.support.people import NoSecrets
from tests.support.ports import refusing_port, silent_port
from tests.support.vault import Secrets
from tests.support.waiting import DEADLINE

TOKEN = "A" * 43
NOTICE = Notice(
    "ann@example.org", "Grüße & more", f"Hello Ünn,\n\nhttps://forge.example/auth/reset#token={TOKEN}\n\n.\n"
)
ACCOUNT = {"username": "robot", "password": "the mail password", "sender": "forge@example.org"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(certificate: Path) -> Iterator[MailServer]:
    with MailServer(certificate) as running:
        yield running


@pytest.fixture(params=["outbox", "smtp"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def notifier(kind: str, server: MailServer, certificate: Path, tmp_path: Path) -> Notifier:
    if kind == "outbox":
        return outbox.OutboxNotifier(outbox.Settings(), tmp_path)
    return smtp.SmtpNotifier(settings(server.port, certificate), tmp_path)


@pytest.fixture
def arrived(kind: str, server: MailServer, tmp_path: Path) -> Callable[[], list[EmailMessage]]:
    def look() -> list[EmailMessage]:
        files = sorted((tmp_path / "outbox").glob("*.eml"))
        raw = [path.read_bytes() for path in files] if kind == "outbox" else [body for _, body in server.messages]
        return [email.message_from_bytes(each, policy=email.policy.default) for each in raw]

    return look


def settings(port: int, certificate: Path | None = None, **more: Any) -> smtp.Settings:
    return smtp.Settings.model_validate({"host": "localhost", "port": port, "ca": certificate, **ACCOUNT, **more})


async def test_a_message_arrives_as_it_was_written(
    notifier: Notifier, arrived: Callable[[], list[EmailMessage]]
) -> None:
    await notifier.open(NoSecrets())
    await notifier.send(NOTICE)
    await notifier.send(Notice("ben@example.org", "second", "plain\n"))
    await notifier.close()
    first, second = arrived()
    assert (first["To"], first["Subject"]) == (NOTICE.to, NOTICE.subject)
    assert first.get_content().split() == NOTICE.text.split()
    assert (second["To"], second.get_content().strip()) == ("ben@example.org", "plain")


@pytest.mark.parametrize(
    "notice", [Notice("a@b.org\nBcc: x@y.org", "s", "t"), Notice("a@b.org", "s\r\nBcc: x@y.org", "t")]
)
async def test_no_header_is_smuggled_in(
    notifier: Notifier, arrived: Callable[[], list[EmailMessage]], notice: Notice
) -> None:
    with pytest.raises(ValueError, match=r"(?i)newline|linefeed|carriage|header"):
        await notifier.send(notice)
    assert arrived() == []


# --- the folder ---


async def test_the_folder_keeps_the_newest_for_their_owner_only(tmp_path: Path) -> None:
    notifier = outbox.OutboxNotifier(outbox.Settings(keep=3), tmp_path)
    for number in range(5):
        await notifier.send(Notice("a@b.org", f"n{number}", "t\n"))
    files = sorted((tmp_path / "outbox").glob("*.eml"))
    assert [path.read_text().split("Subject: ")[1][:2] for path in files] == ["n2", "n3", "n4"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700


async def test_links_stay_whole_in_the_folder(tmp_path: Path) -> None:
    await outbox.OutboxNotifier(outbox.Settings(), tmp_path).send(NOTICE)
    (path,) = (tmp_path / "outbox").glob("*.eml")
    assert f"https://forge.example/auth/reset#token={TOKEN}" in path.read_text()


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    with pytest.raises(UpstreamFailed, match="cannot write"):
        await outbox.OutboxNotifier(outbox.Settings(), tmp_path).send(NOTICE)


# --- SMTP ---


async def test_credentials_and_messages_go_over_tls_only(server: MailServer, certificate: Path, tmp_path: Path) -> None:
    await smtp.SmtpNotifier(settings(server.port, certificate), tmp_path).send(NOTICE)
    assert base64.b64decode(server.logins[0]) == b"\0robot\0the mail password"
    assert set(server.plain_verbs) <= {"EHLO", "STARTTLS"}
    assert server.messages[0][0] == [NOTICE.to]


async def test_the_password_may_be_one_of_the_database(server: MailServer, certificate: Path, tmp_path: Path) -> None:
    notifier, secrets = (
        smtp.SmtpNotifier(settings(server.port, certificate, password="secret:mail"), tmp_path),
        Secrets(),
    )
    await notifier.open(secrets)
    with pytest.raises(NotConfigured, match="no secret 'mail'"):
        await notifier.send(NOTICE)
    secrets.put("mail", "kept")
    await notifier.send(NOTICE)
    assert [base64.b64decode(login) for login in server.logins] == [b"\0robot\0kept"]
    await notifier.close()
    assert secrets.watchers == []


async def test_tls_from_the_first_byte(certificate: Path, tmp_path: Path) -> None:
    with MailServer(certificate, tls_at_once=True) as server:
        await smtp.SmtpNotifier(settings(server.port, certificate, security="tls"), tmp_path).send(NOTICE)
        assert len(server.messages) == 1


async def test_a_server_without_a_certificate_that_we_trust_gets_nothing(server: MailServer, tmp_path: Path) -> None:
    with pytest.raises(UpstreamFailed, match="SSLCertVerificationError"):
        await smtp.SmtpNotifier(settings(server.port), tmp_path).send(NOTICE)
    assert not server.logins
    assert not server.messages


async def test_a_server_that_offers_no_tls_gets_nothing(certificate: Path, tmp_path: Path) -> None:
    with MailServer() as server:
        server.refuse["STARTTLS"] = b"502 what is that"
        with pytest.raises(UpstreamFailed):
            await smtp.SmtpNotifier(settings(server.port, certificate), tmp_path).send(NOTICE)
        assert not server.logins
        assert not server.messages


@pytest.mark.parametrize("verb", ["AUTH", "MAIL", "RCPT", "DATA"])
async def test_a_refusal_is_told_without_repeating_the_message(
    server: MailServer, certificate: Path, tmp_path: Path, verb: str
) -> None:
    server.refuse[verb] = f"550 no: {TOKEN}".encode()
    with pytest.raises(UpstreamFailed) as failed:
        await smtp.SmtpNotifier(settings(server.port, certificate), tmp_path).send(NOTICE)
    assert TOKEN not in failed.value.message
    assert "the mail password" not in failed.value.message


async def test_a_server_that_is_down_or_says_nothing_is_given_up(certificate: Path, tmp_path: Path) -> None:
    with pytest.raises(UpstreamFailed), refusing_port() as port:
        await smtp.SmtpNotifier(settings(port, certificate), tmp_path).send(NOTICE)
    with pytest.raises(UpstreamFailed), silent_port() as port:
        await smtp.SmtpNotifier(settings(port, certificate, timeout_seconds=0.2), tmp_path).send(NOTICE)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_server_that_goes_on_for_ever_is_cut_off(certificate: Path, tmp_path: Path, security: str) -> None:
    """Each byte comes in good time, so only the deadline of the whole message ends it, and the thread with it."""
    with MailServer(certificate, tls_at_once=security == "tls") as server:
        server.drips = True
        patient = settings(server.port, certificate, security=security, timeout_seconds=60, total_seconds=0.5)
        with pytest.raises(UpstreamFailed, match="TimeoutError"):
            await smtp.SmtpNotifier(patient, tmp_path).send(NOTICE)
        assert await asyncio.to_thread(server.hung_up.wait, DEADLINE)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"security": "none", "host": "mail.example.org"}, "on this machine only"),
        ({"password": None}, "or neither"),
        ({"sender": "nobody"}, "pattern"),
        ({"sender": "a@b.org\nBcc: c@d.org"}, "pattern"),
        ({"timeout_seconds": 0}, "greater than 0"),
        ({"total_seconds": 0}, "greater than 0"),
    ],
)
def test_settings_that_would_not_protect_what_is_sent_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(25, **wrong)
