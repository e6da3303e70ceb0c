"""Secrets that another process hands over."""

import pytest

from polyforge.kernel.errors import Invalid, NotConfigured, Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.handed import HandedSecrets, encode_handed
from polyforge.secrets.references import SecretRef

VALUE = "a value that nobody may see"


def message(**values: str) -> bytes:
    return encode_handed({name: Hidden(value) for name, value in values.items()}, {})


def test_what_was_handed_over_last_holds() -> None:
    held = HandedSecrets()
    with pytest.raises(Unavailable, match="'key' is not known yet") as unknown:
        held.value("key")
    assert unknown.value.retry_after is not None
    held.take(message(key=VALUE))
    assert held.value("key").reveal() == VALUE
    held.take(message(key="another"))
    assert held.value("key").reveal() == "another"
    held.take(encode_handed({}, {"key": "there is no secret 'key'"}))
    with pytest.raises(NotConfigured, match="there is no secret 'key'"):
        held.value("key")


def test_a_reference_follows_what_is_handed_over() -> None:
    held, reference = HandedSecrets(), SecretRef("secret:key")
    followed = FollowedSecrets(reference)
    followed.open(held)
    held.take(message(key=VALUE))
    assert followed.reveal(reference) == VALUE
    held.take(message(key=" rotated\n"))
    assert followed.reveal(reference) == "rotated"
    followed.close()
    followed.close()


def test_who_watches_is_told_of_changes_of_that_secret_alone() -> None:
    held = HandedSecrets()
    told: list[str] = []
    stop = held.watch("key", lambda: told.append("key"))
    held.watch("other", lambda: told.append("other"))
    held.take(message(key="1"))
    held.take(message(key="1"))
    held.take(message(key="2", other="1"))
    held.take(encode_handed({"other": Hidden("1")}, {"key": "gone"}))
    assert told == ["key", "key", "other", "key"]
    stop()
    stop()
    held.take(message(key="3", other="1"))
    assert told == ["key", "key", "other", "key"]


@pytest.mark.parametrize("body", [f'["{VALUE}"]', f'{{"values": "{VALUE}"}}', f'{{"more": "{VALUE}"}}', VALUE])
def test_what_is_no_such_message_is_refused_without_a_word_of_it_and_changes_nothing(body: str) -> None:
    held = HandedSecrets()
    held.take(message(key=VALUE))
    with pytest.raises(Invalid) as refused:
        held.take(body.encode())
    assert VALUE not in str(refused.value)
    assert refused.value.__cause__ is None
    assert held.value("key").reveal() == VALUE


def test_it_shows_no_value() -> None:
    held = HandedSecrets()
    held.take(message(key=VALUE))
    assert VALUE not in repr(held) + repr(vars(held))
