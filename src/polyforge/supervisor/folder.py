"""The data folder as the supervisor uses it: one lock, one folder per `polyforge up`, one short path for the socket."""

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable
from typing import Any

from polyforge.kernel.processes import is_running
from polyforge.supervisor.errors import StartError

SOCKET_NAME = "models.sock"
SOCKET_FOLDER_PREFIX = "polyforge."
LONGEST_TEMPORARY_PATH = 80
SHORTEST_TEMPORARY_FOLDER = "/tmp"  # noqa: S108 - the folder made in it has a random name and is this user's alone
ENDING_SECONDS = 5.0
"""How long the processes of a killed supervisor may take to notice."""
POLL_SECONDS = 0.05


class DataFolder:
    """A data folder, held by at most one `polyforge up`, through its supervisor and all its processes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock_fd = -1

    def lock(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Take the folder; StartError names the process that has it.

        Every process keeps the lock open, so it is free only when the last one is gone. Those of a supervisor that was
        killed follow it within moments, which are waited for.
        """
        descriptor = self._open()
        for _ in range(round(ENDING_SECONDS / POLL_SECONDS)):
            if _try_lock(descriptor):
                break
            owner = _owner(descriptor)
            if is_running(owner):
                os.close(descriptor)
                raise StartError(f"{self.path} is in use by process {owner}; stop it, or pass another --data")
            sleep(POLL_SECONDS)
        else:
            os.close(descriptor)
            raise StartError(f"{self.path} is still held by processes of an earlier `polyforge up`; end them first")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self.lock_fd = descriptor

    def open_session(self, session: str) -> "Session":
        """Clear away what earlier sessions left, and make this one's folder. Needs the lock."""
        root = os.path.join(self.path, "run")
        if not os.path.isdir(root):
            os.mkdir(root, 0o700)
        for name in os.listdir(root):
            _remove_session(os.path.join(root, name))
        opened = Session(session, os.path.join(root, session))
        opened.open()
        return opened

    def _open(self) -> int:
        try:
            return os.open(os.path.join(self.path, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(f"cannot write in the data folder {self.path}: {error.strerror}") from error


def supervisor_of(path: str) -> int | None:
    """The process id of the `polyforge up` that holds a data folder; None when there is none."""
    try:
        descriptor = os.open(os.path.join(path, "lock"), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(descriptor)
        return owner if is_running(owner) else None
    finally:
        os.close(descriptor)
    return None


class Session:
    """What the processes of one `polyforge up` share on disk."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.socket_folder = ""

    @property
    def socket_path(self) -> str:
        """Where the model host listens."""
        return os.path.join(self.socket_folder, SOCKET_NAME)

    def open(self) -> None:
        """Make the folders; the socket's has a short path, because a Unix socket's is limited to 104 bytes on macOS."""
        os.mkdir(self.path, 0o700)
        base = os.environ.get("TMPDIR", "")
        if not 0 < len(base) <= LONGEST_TEMPORARY_PATH or not os.path.isdir(base):
            base = SHORTEST_TEMPORARY_FOLDER
        folder = os.path.join(base, SOCKET_FOLDER_PREFIX + os.urandom(5).hex())
        os.mkdir(folder, 0o700)
        self.socket_folder = folder
        self.write_children({})

    def write_children(self, facts: dict[str, Any]) -> None:
        """Replace children.json, so that a reader sees the old or the new one whole."""
        target = os.path.join(self.path, "children.json")
        with open(target + ".new", "w") as file:
            json.dump({"session": self.name, "socket_folder": self.socket_folder, **facts}, file, indent=1)
        os.replace(target + ".new", target)

    def remove(self) -> None:
        """Leave nothing behind."""
        _remove_socket_folder(self.socket_folder)
        _remove_tree(self.path)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _remove_session(path: str) -> None:
    try:
        with open(os.path.join(path, "children.json")) as file:
            left: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        left = {}
    _remove_socket_folder(str(left.get("socket_folder", "")))
    _remove_tree(path)


def _remove_socket_folder(path: str) -> None:
    """Remove a folder that `Session.open` made, and nothing else that a damaged file might name."""
    if not os.path.basename(path).startswith(SOCKET_FOLDER_PREFIX):
        return
    with contextlib.suppress(OSError):
        facts = os.lstat(path)
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            return
        for name in os.listdir(path):
            if stat.S_ISSOCK(os.lstat(os.path.join(path, name)).st_mode):
                os.unlink(os.path.join(path, name))
        os.rmdir(path)


def _remove_tree(path: str) -> None:
    """Remove what can be removed; the next session tries again."""
    with contextlib.suppress(OSError):
        for folder, folders, files in os.walk(path, topdown=False):
            for name in files:
                os.unlink(os.path.join(folder, name))
            for name in folders:
                os.rmdir(os.path.join(folder, name))
        os.rmdir(path)
