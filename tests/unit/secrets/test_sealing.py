"""Sealing: what was sealed opens for what it belongs to, and for nothing else."""

import pytest

from polyforge.kernel.errors import SettingsError
from polyforge.secrets.sealing import MasterKeys, Unsealable

OLD, NEW = b"o" * 32, b"n" * 32
VALUE = b"sk-the-secret-itself"
PLACE = "secret/organization/one"


def test_a_value_opens_again_and_never_seals_alike() -> None:
    keys = MasterKeys([NEW])
    first, second = keys.seal(VALUE, PLACE), keys.seal(VALUE, PLACE)
    assert keys.open(first, PLACE) == keys.open(second, PLACE) == VALUE
    assert first != second
    assert VALUE not in first
    assert keys.open(keys.seal(b"", PLACE), PLACE) == b""


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Unsealable, match="not configured"):
        MasterKeys([OLD]).open(MasterKeys([NEW]).seal(VALUE, PLACE), PLACE)


def test_a_value_that_was_moved_does_not_open() -> None:
    keys = MasterKeys([NEW])
    with pytest.raises(Unsealable, match="belongs to something else"):
        keys.open(keys.seal(VALUE, PLACE), "secret/organization/two")


def test_no_flipped_byte_goes_unseen() -> None:
    keys = MasterKeys([NEW])
    sealed = keys.seal(VALUE, PLACE)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(Unsealable):
            keys.open(bytes(changed), PLACE)


def test_nothing_shorter_and_nothing_longer_opens() -> None:
    keys = MasterKeys([NEW])
    sealed = keys.seal(VALUE, PLACE)
    for length in range(len(sealed)):
        with pytest.raises(Unsealable):
            keys.open(sealed[:length], PLACE)
    with pytest.raises(Unsealable):
        keys.open(sealed + b"\0", PLACE)


def test_earlier_keys_open_and_the_newest_seals() -> None:
    before, after = MasterKeys([OLD]), MasterKeys([NEW, OLD])
    sealed = before.seal(VALUE, PLACE)
    assert after.open(sealed, PLACE) == VALUE
    assert after.sealed_with(sealed) == before.current != after.current
    assert after.sealed_with(after.seal(VALUE, PLACE)) == after.current
    with pytest.raises(Unsealable):
        before.open(after.seal(VALUE, PLACE), PLACE)


def test_derived_keys_are_of_use_for_one_purpose_and_come_newest_first() -> None:
    keys = MasterKeys([NEW, OLD])
    ours = keys.derive("audit chain")
    assert ours == [*MasterKeys([NEW]).derive("audit chain"), *MasterKeys([OLD]).derive("audit chain")]
    assert not set(ours) & set(keys.derive("csrf"))
    assert not set(ours) & {NEW, OLD}


def test_the_same_key_given_twice_is_one() -> None:
    assert len(MasterKeys([NEW, NEW]).derive("x")) == 1


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, b"x" * 33]])
def test_a_key_of_another_length_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(SettingsError, match="32 bytes"):
        MasterKeys(keys)


def test_the_id_of_a_key_does_not_tell_of_it() -> None:
    keys = MasterKeys([NEW])
    assert len(keys.current) == 16
    assert NEW.hex()[:4] not in keys.current
    assert NEW.hex() not in repr(keys)
