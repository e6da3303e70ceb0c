"""`polyforge check`, as far as it needs no process."""

import pytest

from polyforge.cli.check import examine
from polyforge.kernel.errors import SettingsError
from polyforge.wiring.settings import Settings


def examined(api_key: str) -> str:
    provider = {"use": "openai", "api_key": api_key}
    return examine(Settings.model_validate({"providers": {"lab": provider}}))["providers"]["lab"]["api_key"]


def test_a_secret_of_the_database_is_checked_by_its_name_alone() -> None:
    assert examined("secret:not-set-yet") == "secret:not-set-yet"
    with pytest.raises(SettingsError, match=r"providers\.lab\.api_key: `secret:` needs a name"):
        examined("secret:Not A Name")
    with pytest.raises(SettingsError, match=r"providers\.lab\.api_key: the environment variable"):
        examined("env:NOT_SET_ANYWHERE")
