"""What a process begins with: the settings file, or, when that is wrong, what it last said."""

import stat
from pathlib import Path
from typing import Any

import pytest

from polyforge.kernel.errors import SettingsError
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import DEFAULT_FILE, MAX_FILE_BYTES, load, parse
from polyforge.wiring.starting import COPY, begin

SECRET = "written-out-1234567890"
GOOD = "events: {keep_days: 3}"


def process(folder: Path, **more: Any) -> ProcessSpec:
    return ProcessSpec(
        index=0,
        workers=1,
        ready_fd=-1,
        life_fd=-1,
        session="s",
        runtime=str(folder),
        config=str(folder / "polyforge.yaml"),
        **more,
    )


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POLYFORGE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_good_file_is_used_and_kept_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "polyforge.yaml").write_text(GOOD)
    start = begin(process(tmp_path))
    assert (start.settings.events.keep_days, start.declared, start.trouble) == (3, {"events": {"keep_days": 3}}, None)
    assert start.stamp is not None
    copy = tmp_path / COPY
    assert (copy.read_text(), stat.S_IMODE(copy.stat().st_mode)) == (GOOD, 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["polyforge.yaml", COPY]


@pytest.mark.parametrize("text", ["events: [", "events: {keep_days: -1}", "- a list", None])
def test_a_wrong_or_missing_file_gives_way_to_what_it_last_said(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "polyforge.yaml"
    file.write_text(GOOD)
    begin(process(tmp_path))
    file.unlink() if text is None else file.write_text(text)
    start = begin(process(tmp_path, overrides={"events": {"max_subscribers": 5}}))
    assert (start.settings.events.keep_days, start.settings.events.max_subscribers) == (3, 5)
    assert (start.stamp, bool(start.trouble)) == (None, True)


def test_a_file_that_never_was_right_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "polyforge.yaml").write_text("events: {keep_days: -1}")
    with pytest.raises(SettingsError, match=r"events\.keep_days"):
        begin(process(tmp_path))


def test_without_a_file_the_defaults_hold_unless_one_was_named(tmp_path: Path) -> None:
    start = begin(ProcessSpec(0, 1, -1, -1, "s", str(tmp_path)))
    assert (start.declared, start.stamp, start.path) == ({}, None, DEFAULT_FILE)
    with pytest.raises(SettingsError, match="cannot read"):
        load(Path("polyforge.yaml"))


@pytest.mark.parametrize("text", [f"providers: {{lab: '{SECRET}' x", f"a: {SECRET}\n b: c", f"!!{SECRET} x", "a: \x00"])
def test_what_is_no_yaml_is_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(text, Path("polyforge.yaml"))
    assert SECRET not in refused.value.message
    assert refused.value.message.startswith("polyforge.yaml is not YAML")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "polyforge.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(SettingsError, match="has more than"):
        load(file)
