"""Secrets that an adapter asks for anew with each call."""

from collections.abc import Callable

import pytest

from polyforge.kernel.errors import SettingsError
from polyforge.kernel.hidden import Hidden
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef


class Vault:
    """Secrets by name; only of names that are watched."""

    def __init__(self) -> None:
        self.kept = {"token": "one"}
        self.watched: list[str] = []

    def value(self, name: str) -> Hidden:
        assert name in self.watched
        return Hidden(self.kept[name])

    def watch(self, name: str, changed: Callable[[], None]) -> Callable[[], None]:
        self.watched.append(name)
        return lambda: self.watched.remove(name)


def test_a_kept_secret_is_that_of_now_while_it_is_followed() -> None:
    token, vault = SecretRef("secret:token"), Vault()
    followed = FollowedSecrets(token, None)
    followed.open(vault)
    assert followed.reveal(token) == "one"
    vault.kept["token"] = "two"
    assert followed.reveal(token) == "two"
    followed.close()
    followed.close()
    assert vault.watched == []


def test_what_lies_elsewhere_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "here")
    token, vault = SecretRef("env:SOME_TOKEN"), Vault()
    followed = FollowedSecrets(token)
    followed.open(vault)
    assert (followed.reveal(token), vault.watched) == ("here", [])


def test_before_it_is_opened_the_database_has_none() -> None:
    token = SecretRef("secret:token")
    with pytest.raises(SettingsError, match="before the database is open"):
        FollowedSecrets(token).reveal(token)
