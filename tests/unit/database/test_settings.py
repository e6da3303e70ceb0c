"""The `database` section of the settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.errors import SettingsError


@pytest.mark.parametrize("url", ["mysql://h/d", "sqlite:///x", "", "SQLITE", "host/db"])
def test_an_unknown_database_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="must be `sqlite` or begin with postgresql://"):
        DatabaseSettings(url=url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite", "sqlite"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://u:s3cret@h:5432/d?sslmode=require", "postgresql://u:********@h:5432/d?sslmode=require"),
        ("postgres://u:s3:cr@et@h/d", "postgres://u:********@h/d"),
        ("postgresql://h/d?user=u&password=s3cret&port=1", "postgresql://h/d?user=u&password=********&port=1"),
        ("env:DATABASE", "env:DATABASE"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    settings = DatabaseSettings(url=url)
    assert settings.model_dump()["url"] == shown
    assert settings.model_dump(mode="json")["url"] == shown
    assert "s3" not in repr(settings)


def test_the_address_may_be_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "address").write_text("postgresql://u:p@h/d\n")
    settings = DatabaseSettings(url=f"file:{tmp_path}/address")
    assert settings.dialect == "postgresql"
    assert settings.address() == "postgresql://u:p@h/d"
    monkeypatch.setenv("DATABASE", "mysql://h/d")
    with pytest.raises(SettingsError, match=r"database\.url: env:DATABASE holds no address"):
        DatabaseSettings(url="env:DATABASE").address()
