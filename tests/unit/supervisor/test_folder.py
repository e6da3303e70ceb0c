import json
import os
import socket
from pathlib import Path

import pytest

from polyforge.supervisor.errors import StartError
from polyforge.supervisor.folder import DataFolder


def no_sleep(seconds: float) -> None:
    del seconds


def test_a_second_owner_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    first = DataFolder(str(tmp_path))
    first.lock()
    with pytest.raises(StartError, match=f"in use by process {os.getpid()}"):
        DataFolder(str(tmp_path)).lock()
    os.close(first.lock_fd)


def test_what_a_dead_owner_left_behind_is_waited_for_and_then_named(tmp_path: Path) -> None:
    first = DataFolder(str(tmp_path))
    first.lock()
    os.pwrite(first.lock_fd, b"999999999\n", 0)
    with pytest.raises(StartError, match="earlier `polyforge up`"):
        DataFolder(str(tmp_path)).lock(no_sleep)
    os.close(first.lock_fd)


def test_the_folder_is_free_again_once_the_last_process_has_let_go(tmp_path: Path) -> None:
    first = DataFolder(str(tmp_path))
    first.lock()
    os.close(first.lock_fd)
    second = DataFolder(str(tmp_path))
    second.lock()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    os.close(second.lock_fd)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot write in the data folder"):
        DataFolder(str(tmp_path / "missing")).lock()


def test_a_session_has_private_folders_and_takes_them_away(tmp_path: Path) -> None:
    session = DataFolder(str(tmp_path)).open_session("ONE")
    assert oct(os.stat(session.path).st_mode & 0o777) == oct(os.stat(session.socket_folder).st_mode & 0o777) == "0o700"
    assert len(session.socket_path) < 100
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(session.socket_path)
    listener.close()
    session.remove()
    assert not os.path.exists(session.path)
    assert not os.path.exists(session.socket_folder)


def test_leftovers_of_a_killed_session_go_when_the_next_opens(tmp_path: Path) -> None:
    killed = DataFolder(str(tmp_path)).open_session("KILLED")
    Path(killed.path, "counters").mkdir()
    Path(killed.path, "counters", "shared").touch()
    following = DataFolder(str(tmp_path)).open_session("NEXT")
    assert os.listdir(tmp_path / "run") == ["NEXT"]
    assert not os.path.exists(killed.socket_folder)
    following.remove()


@pytest.mark.parametrize("content", ['{"socket_folder": "precious"}', "not json", "{}"])
def test_a_damaged_leftover_takes_nothing_else_with_it(tmp_path: Path, content: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    left = tmp_path / "data" / "run" / "OLD"
    left.mkdir(parents=True)
    (left / "children.json").write_text(content.replace("precious", str(precious)))
    DataFolder(str(tmp_path / "data")).open_session("NEW").remove()
    assert (precious / "file").exists()


def test_a_socket_folder_that_holds_something_else_stays(tmp_path: Path) -> None:
    session = DataFolder(str(tmp_path)).open_session("ONE")
    stranger = Path(session.socket_folder, "stranger.txt")
    stranger.touch()
    session.remove()
    assert stranger.exists()
    stranger.unlink()
    os.rmdir(session.socket_folder)


def test_children_are_replaced_whole(tmp_path: Path) -> None:
    session = DataFolder(str(tmp_path)).open_session("ONE")
    session.write_children({"children": [1]})
    session.write_children({"children": [2]})
    assert json.loads(Path(session.path, "children.json").read_text()) == {
        "session": "ONE",
        "socket_folder": session.socket_folder,
        "children": [2],
    }
    session.remove()
