"""Where the master key comes from, and that no error tells it."""

import base64
import os
import stat
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polyforge.kernel.errors import SettingsError
from polyforge.secrets.master import MASTER_FILE, load_master_keys, new_master_key
from polyforge.secrets.sealing import MasterKeys
from polyforge.secrets.settings import SecretsSettings

KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()
OURS = MasterKeys([KEY]).current


def refused(settings: SecretsSettings, data: Path, patience: float = 10) -> str:
    """The message of the refusal, with everything that came before it; it must not tell the key."""
    with pytest.raises(SettingsError) as caught:
        load_master_keys(settings, data, patience=patience)
    told = f"{caught.value!r} {caught.value.__cause__}"
    assert TEXT[:8] not in told
    return caught.value.message


def given(**settings: Any) -> SecretsSettings:
    return SecretsSettings.model_validate(settings)


def command(program: str) -> SecretsSettings:
    return given(master_command=(sys.executable, "-c", program))


def made_by_another_process(data: str) -> str:
    return load_master_keys(SecretsSettings(), Path(data)).current


def test_processes_that_start_at_once_agree_on_one_key_in_a_file_of_their_own(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = set(pool.map(made_by_another_process, [str(data)] * 8))
    assert found == {load_master_keys(SecretsSettings(), data).current}
    assert os.listdir(data) == [MASTER_FILE]
    assert stat.S_IMODE((data / MASTER_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o644, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / MASTER_FILE
    path.write_text(TEXT)
    path.chmod(mode)
    for settings in (SecretsSettings(), given(master_key=f"file:{path}")):
        assert f"is open to others (mode {mode:04o}); run `chmod 600 {path}`" in refused(settings, tmp_path)
    earlier = given(master_key=TEXT, previous_master_keys=(f"file:{path}",))
    assert refused(earlier, tmp_path).startswith("secrets.previous_master_keys: ")
    path.chmod(0o400)
    assert load_master_keys(SecretsSettings(), tmp_path).current == OURS


@pytest.mark.parametrize("text", ["", "x", TEXT[:-4], TEXT * 2, "ключ", f"{TEXT[:20]} {TEXT[20:]}"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / MASTER_FILE
    path.write_text(text)
    path.chmod(0o600)
    assert refused(SecretsSettings(), tmp_path).startswith("secrets.master_key: ")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / MASTER_FILE
    path.write_bytes(b"\xff" * 32)
    path.chmod(0o600)
    assert "is not UTF-8" in refused(SecretsSettings(), tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "cannot make" in refused(SecretsSettings(), tmp_path / "data" / "x")


def test_a_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(master_key="env:THE_MASTER_KEY")
    assert "THE_MASTER_KEY is not set" in refused(settings, tmp_path)
    monkeypatch.setenv("THE_MASTER_KEY", TEXT)
    assert load_master_keys(settings, tmp_path).current == OURS
    assert os.listdir(tmp_path) == []


def test_a_key_comes_from_a_command(tmp_path: Path) -> None:
    assert load_master_keys(command(f"print('{TEXT}')"), tmp_path).current == OURS
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (f"print('{TEXT}'); raise SystemExit(3)", "ended with status 3"),
        ("print('no key')", "is not base64"),
        (f"print('{TEXT}' * 2)", "is not base64"),
        ("import sys; sys.stdout.buffer.write(bytes(range(255)))", "is not base64"),
        ("pass", "holds 0 bytes instead of 32"),
        (f"while True: print('{TEXT}', end='')", "ended with status"),
    ],
)
def test_a_command_that_gives_no_key_is_told_without_what_it_printed(tmp_path: Path, program: str, reason: str) -> None:
    assert reason in refused(command(program), tmp_path)


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    child = f"import subprocess; print('{TEXT}'); subprocess.run(['sleep', '600'])"
    assert "was killed; it may take 0.5 seconds" in refused(command(child), tmp_path, patience=0.5)


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    settings = given(master_command=("/no/such/kms", "--quiet"))
    assert refused(settings, tmp_path) == "secrets.master_command: /no/such/kms: No such file or directory"


def test_a_master_key_is_not_itself_in_the_database(tmp_path: Path) -> None:
    settings = given(master_key="secret:master")
    assert "before the database is open" in refused(settings, tmp_path)


def test_two_sources_are_one_too_many() -> None:
    with pytest.raises(ValidationError, match="not both"):
        given(master_key=TEXT, master_command=("kms",))


def test_a_new_key_can_be_used_at_once(tmp_path: Path) -> None:
    first, second = new_master_key(), new_master_key()
    assert first != second
    settings = given(master_key=first, previous_master_keys=(second,))
    sealed = load_master_keys(given(master_key=second), tmp_path).seal(b"x", "y")
    assert load_master_keys(settings, tmp_path).open(sealed, "y") == b"x"
