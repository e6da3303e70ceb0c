import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.tenancy.people.password_rules import MAX_LENGTH, MIN_LENGTH, weakness
from polyforge.tenancy.people.passwords import RFC_9106_LOW_MEMORY, Argon2Profile, Passwords

CHEAP = Argon2Profile(passes=1, memory_kib=8, lanes=1)
GOOD = "a quiet river bends twice"


@pytest.mark.parametrize(
    "password",
    [
        "",
        "elevenchars",
        "x" * (MAX_LENGTH + 1),
        "aaaaaaaaaaaa",
        "abababababab",
        "123456789012",
        "password1234",
        "Password1234!",
        "p@ssw0rd2024!!",
        "qwertyuiop123",
        "Welcome12345",
        "letmeinletmein",
        "ann.smith.2024",
        "exampleexample1",
        "Polyforge2024!",
        "correct horse battery staple",
        "ADMINadmin!!11",
    ],
)
def test_what_guessers_try_first_is_refused(password: str) -> None:
    assert weakness(password, "ann.smith@example.org", "Ann Smith") is not None


@pytest.mark.parametrize(
    "password", [GOOD, "tR4!vk29pQzx", "дождь над старым мостом", "kettle-orbit-plum", "zvqxjkwhmptd"]
)
def test_what_is_hard_to_guess_is_taken(password: str) -> None:
    assert weakness(password, "ann.smith@example.org", "Ann Smith") is None


@given(st.text(max_size=250), st.text(max_size=50))
def test_any_text_is_judged(password: str, known: str) -> None:
    reason = weakness(password, known)
    assert reason is not None or MIN_LENGTH <= len(password) <= MAX_LENGTH


def test_the_cost_is_what_rfc_9106_recommends_for_little_memory() -> None:
    assert (RFC_9106_LOW_MEMORY.passes, RFC_9106_LOW_MEMORY.memory_kib, RFC_9106_LOW_MEMORY.lanes) == (3, 64 * 1024, 4)


async def test_a_password_is_recognised_however_it_was_composed() -> None:
    passwords = Passwords(CHEAP)
    kept = await passwords.hash("the caf\u00e9 on the corner")
    assert kept.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await passwords.verify(kept, "the cafe\u0301 on the corner")
    assert not await passwords.verify(kept, "the cafe on the corner")
    assert not await passwords.verify(kept, "x" * (MAX_LENGTH + 1))
    assert not await passwords.verify("what is this", GOOD)
    assert await passwords.hash(GOOD) != await passwords.hash(GOOD)


async def test_nobody_has_no_password_at_the_same_cost() -> None:
    passwords = Passwords(CHEAP)
    assert not await passwords.verify(None, GOOD)
    kept = await passwords.hash(GOOD)
    assert passwords._nobodys.rsplit("$", 2)[0] == kept.rsplit("$", 2)[0]
    assert len(passwords._nobodys) == len(kept)


async def test_a_weak_password_names_its_field() -> None:
    with pytest.raises(Invalid) as refused:
        await Passwords(CHEAP).hash("ann ann ann ann", "ann@example.org")
    assert refused.value.param == "password"


async def test_a_hash_of_another_cost_is_renewed() -> None:
    passwords = Passwords(CHEAP)
    kept = await passwords.hash(GOOD)
    assert await passwords.renewed(kept, GOOD) is None
    dearer = Passwords(Argon2Profile(passes=2, memory_kib=16, lanes=1))
    renewed = await dearer.renewed(kept, GOOD)
    assert renewed is not None
    assert await dearer.verify(renewed, GOOD)
    assert await passwords.verify(renewed, GOOD)


async def test_a_flood_is_refused_and_never_more_than_two_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(CHEAP, waiting=6)
    held, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def slow(kept: str, password: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        held.wait(20)
        with lock:
            running -= 1
        return True

    monkeypatch.setattr(passwords, "_matches", slow)
    waiting = [asyncio.create_task(passwords.verify(None, GOOD)) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await passwords.verify(None, GOOD)
    held.set()
    assert await asyncio.gather(*waiting) == [True] * 6
    assert most <= 2
    assert await passwords.verify(None, GOOD)
