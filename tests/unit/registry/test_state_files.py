"""Small files of state: whole or not there."""

from pathlib import Path

import msgspec
import pytest

from polyforge.kernel.errors import Invalid
from polyforge.registry.state_files import read_state, write_state


class State(msgspec.Struct, frozen=True):
    names: tuple[str, ...]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    assert read_state(path, State, 1_000) is None
    write_state(path, State(("a",)))
    write_state(path, State(("b",)))
    assert read_state(path, State, 1_000) == State(("b",))
    assert [each.name for each in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"names": 3}', b'{"names": ["\xff"]}', b'{"names": ["' + b"a" * 99])
def test_what_is_no_such_state_is_told_by_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(Invalid, match=r"state\.json cannot be read"):
        read_state(path, State, 50)


def test_a_write_that_fails_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"state\.json"):
        write_state(path, State(()))
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]
