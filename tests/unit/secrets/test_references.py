"""References to secrets: they lead somewhere, and show nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from polyforge.kernel.errors import NotConfigured, SettingsError
from polyforge.kernel.hidden import Hidden
from polyforge.ports.secret_source import Stop
from polyforge.secrets.references import SecretRef


class Holder(BaseModel):
    key: SecretRef


class Source:
    """One secret, `known`."""

    def value(self, name: str) -> Hidden:
        if name != "known":
            raise NotConfigured(f"there is no secret {name!r}")
        return Hidden("the value")

    def watch(self, name: str, changed: Callable[[], None]) -> Stop:
        raise AssertionError("nobody watches here")


def test_a_hidden_text_shows_itself_only_when_asked() -> None:
    hidden = Hidden("sk-value")
    assert f"{hidden} {hidden!r} {[hidden]} {hidden!s:>20}".count("sk-value") == 0
    assert hidden.reveal() == "sk-value"
    assert hidden == Hidden("sk-value") != Hidden("other")


def test_a_secret_of_the_database_is_asked_for_by_its_name() -> None:
    ref = SecretRef("secret:known")
    assert (ref.name, str(ref), ref.reveal(Source())) == ("known", "secret:known", "the value")
    with pytest.raises(NotConfigured, match="unknown"):
        SecretRef("secret:unknown").reveal(Source())
    with pytest.raises(SettingsError, match="cannot be used here"):
        ref.reveal()


@pytest.mark.parametrize("name", ["", "A", ".x", "a b", "a/b", "é", "a" * 201, "a\n"])
def test_a_name_that_no_secret_can_have_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValidationError, match="needs a name"):
        Holder.model_validate({"key": f"secret:{name}"})


def test_a_literal_and_an_open_file_are_taken_for_what_is_no_master_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("from a file\n")
    path.chmod(0o644)
    assert SecretRef(f"file:{path}").reveal() == "from a file"
    assert SecretRef("literal").reveal() == "literal"
    assert (SecretRef("literal").name, str(SecretRef("literal"))) == (None, "********")
