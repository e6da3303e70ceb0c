"""The pure parts of people: cookies, proofs, codes, letters; and the post, which is nearly so."""

import asyncio
from functools import partial
from typing import ClassVar

import pytest
from pyotp.totp import TOTP

from polyforge.kernel.errors import Unavailable, UpstreamFailed
from polyforge.ports.notifier import Notice
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.people import letters
from polyforge.tenancy.people.attempts import network_of
from polyforge.tenancy.people.cookies import CsrfKey, SessionCookie
from polyforge.tenancy.people.post import MAX_WAITING, Post
from polyforge.tenancy.people.records import is_token, new_token
from polyforge.tenancy.people.second_factor import (
    matching_step,
    new_recovery_codes,
    new_secret,
    recovery_hash,
    without,
)
from tests.support.people import NoSecrets
from tests.support.waiting import eventually_async

NOW = 1_700_000_010.0


def test_a_cookie_is_read_as_it_was_set() -> None:
    for secure in (False, True):
        cookie = SessionCookie(secure=secure)
        token = new_token()
        pair = cookie.issued(token, 60).partition(";")[0]
        assert cookie.read(f"a=b; {pair} ;c=d".encode()) == token
        assert cookie.read(cookie.cleared().partition(";")[0].encode()) is None
        assert SessionCookie(secure=not secure).read(pair.encode()) is None


@pytest.mark.parametrize(
    "header", [None, b"", b";;;", b"polyforge_session", b"polyforge_session=", b"\xff\xfe=\x00", b"x=y"]
)
def test_no_cookie_is_none(header: bytes | None) -> None:
    assert SessionCookie(secure=False).read(header) is None


def test_a_proof_is_of_one_session_under_a_master_key_or_the_one_before() -> None:
    old, new = MasterKeys([b"o" * 32]), MasterKeys([b"n" * 32, b"o" * 32])
    proof = CsrfKey(old).value(b"s" * 32)
    assert CsrfKey(new).matches(b"s" * 32, proof)
    assert not CsrfKey(new).matches(b"t" * 32, proof)
    assert not CsrfKey(MasterKeys([b"n" * 32])).matches(b"s" * 32, proof)
    assert not CsrfKey(new).matches(b"s" * 32, "")


def test_a_code_belongs_to_its_step_and_the_ones_beside_it() -> None:
    secret = new_secret()
    assert len(secret) == 32
    step = int(NOW) // 30
    for offset, found in ((-60, None), (-30, step - 1), (0, step), (30, step + 1), (60, None)):
        assert matching_step(secret, TOTP(secret).at(int(NOW) + offset), NOW) == found
    for odd in ("", "12345", "1234567", "abcdef", "１２３４５６", "-12345", "12 345"):
        assert matching_step(secret, odd, NOW) is None


def test_a_recovery_code_is_used_up() -> None:
    codes = new_recovery_codes()
    kept = [recovery_hash(code) for code in codes]
    left = without(kept, codes[3].upper().replace("-", " ")) or []
    assert left == kept[:3] + kept[4:]
    assert without(left, codes[3]) is None
    assert without([], codes[0]) is None


def test_a_token_has_256_bits() -> None:
    assert is_token(new_token())
    assert new_token() != new_token()
    assert not any(map(is_token, ["", "a" * 42, "a" * 44, "a" * 42 + "=", "é" * 43, "a" * 43 + "\n"]))


def test_an_address_counts_with_its_network() -> None:
    assert network_of("192.0.2.1") == network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("") == ""
    assert network_of("what") == "what"


def test_letters_carry_their_links_behind_the_part_that_servers_see() -> None:
    for letter in (
        letters.verification("a@b.c", "https://x.y", "T"),
        letters.reset("a@b.c", "https://x.y", "T"),
        letters.invitation("a@b.c", "https://x.y", "T", "Lab", "viewer"),
    ):
        assert letter.to == "a@b.c"
        assert letter.text.count("#token=T\n") == 1


class Scripted:
    """A notifier that fails as often as told."""

    mails: ClassVar[bool] = False

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sent: list[Notice] = []

    async def open(self, secrets: SecretSource) -> None:
        """Ready."""

    async def close(self) -> None:
        """Done."""

    async def send(self, notice: Notice) -> None:
        if self.failures:
            self.failures -= 1
            raise UpstreamFailed("not now")
        self.sent.append(notice)


async def made(to: str) -> Notice | None:
    if to == "fails":
        raise ValueError(to)
    return Notice(to, "s", "t") if to else None


async def posted(notifier: Scripted, *to: str) -> list[str]:
    post = Post(notifier, pauses=(0.0, 0.0))
    await post.open(NoSecrets())
    for each in to:
        post.put(lambda each=each: made(each))
    await asyncio.wait_for(post.settled(), 20)
    await post.close()
    return [notice.to for notice in notifier.sent]


async def test_a_message_is_tried_three_times() -> None:
    assert await posted(Scripted(2), "a") == ["a"]
    assert await posted(Scripted(3), "a") == []


async def test_a_message_is_made_once_however_often_it_is_tried() -> None:
    notifier, made_of = Scripted(2), list[str]()

    async def make() -> Notice:
        made_of.append("a")
        return Notice("a", "s", "t")

    post = Post(notifier, pauses=(0.0, 0.0))
    await post.open(NoSecrets())
    post.put(make)
    await asyncio.wait_for(post.settled(), 20)
    await post.close()
    assert (made_of, len(notifier.sent)) == (["a"], 1)


async def test_what_cannot_be_made_for_now_is_tried_again() -> None:
    notifier, failures = Scripted(0), [Unavailable("the database does not answer")]

    async def make() -> Notice:
        if failures:
            raise failures.pop()
        return Notice("a", "s", "t")

    post = Post(notifier, pauses=(0.0,))
    await post.open(NoSecrets())
    post.put(make)
    await asyncio.wait_for(post.settled(), 20)
    await post.close()
    assert [notice.to for notice in notifier.sent] == ["a"]


async def test_one_that_rests_keeps_none_from_going_out() -> None:
    notifier = Scripted(3)
    post = Post(notifier, pauses=(3600.0,))
    await post.open(NoSecrets())
    for each in ("a", "b", "c", "d"):
        post.put(lambda each=each: made(each))
    await eventually_async(lambda: len(notifier.sent) == 1, "the fourth goes out while three rest")
    await post.close()
    assert [notice.to for notice in notifier.sent] == ["d"]


# --- the end ---


async def test_what_waits_and_what_rests_goes_out_before_the_end() -> None:
    notifier = Scripted(2)
    post = Post(notifier, pauses=(3600.0, 3600.0))
    await post.open(NoSecrets())
    for each in ("a", "b"):
        post.put(lambda each=each: made(each))
    await eventually_async(lambda: notifier.failures == 0, "both rest")
    post.put(lambda: made("c"))
    post.drain(60)
    await asyncio.wait_for(post.close(), 20)
    assert sorted(notice.to for notice in notifier.sent) == ["a", "b", "c"]


async def test_what_was_not_sent_at_the_end_is_told_without_its_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = Post(Scripted(1_000), pauses=(3600.0, 3600.0, 3600.0))
    await post.open(NoSecrets())
    for each in ("ann@example.org", "ben@example.org"):
        post.put(partial(_letter, each))
    post.drain(0.01)
    await asyncio.wait_for(post.close(), 20)
    (line,) = [record for record in caplog.records if record.message == "messages were not sent"]
    fields = vars(line)["polyforge_fields"]
    assert fields == {"count": 2, "to": ["a***@example.org", "b***@example.org"]}
    told = str([vars(record) for record in caplog.records])
    assert "TOKEN" not in told
    assert "ann@" not in told


async def _letter(to: str) -> Notice:
    return letters.reset(to, "https://x.y", "TOKEN")


async def test_a_message_that_fails_does_not_hold_up_the_others() -> None:
    assert await posted(Scripted(0), "fails", "", "a", "b") == ["a", "b"]


async def test_too_many_messages_are_refused() -> None:
    post = Post(Scripted(0))
    for _ in range(MAX_WAITING):
        post.put(lambda: made("a"))
    with pytest.raises(Unavailable):
        post.put(lambda: made("a"))


async def test_room_that_was_given_is_not_taken_by_others_and_comes_back_when_nothing_was_done() -> None:
    post = Post(Scripted(0))
    with post.room() as add:
        for _ in range(MAX_WAITING - 1):
            post.put(lambda: made("a"))
        with pytest.raises(Unavailable):
            post.put(lambda: made("a"))
        add(lambda: made("a"))
    full = Post(Scripted(0))
    with pytest.raises(ValueError, match="not done"), full.room():
        raise ValueError("not done")
    for _ in range(MAX_WAITING):
        full.put(lambda: made("a"))
