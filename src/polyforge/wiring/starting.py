"""The settings that a supervised process begins with.

A process that is started again while the settings file is wrong begins with what the file last said when it was right,
of which the processes of one `polyforge up` keep a copy: a mistake in the file must not take what runs.
"""

import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from polyforge.kernel.errors import SettingsError
from polyforge.kernel.ids import new_ulid
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import DEFAULT_FILE, Settings, Tree, compose, config_path, parse, read_file

COPY: Final = "settings.yaml"
Stamp = tuple[int, int, int]


class Start(NamedTuple):
    """What a process begins with."""

    settings: Settings
    path: Path
    """Where the settings file is, or would be."""
    declared: Tree
    """What of the settings stood in the file."""
    stamp: Stamp | None
    """The state of the file when it was read; None when there is none, or it was not what this began with."""
    changed_at: float
    overrides: dict[str, Any]
    copy: Path
    trouble: str | None = None
    """Why the file itself could not be used."""


def begin(spec: ProcessSpec) -> Start:
    """The settings of the file, or those of the copy; SettingsError when neither can be used."""
    path = config_path(spec.config_path, os.environ)
    copy = Path(spec.runtime) / COPY
    if path is None:
        settings, _ = compose({}, "no file", spec.overrides)
        return Start(settings, DEFAULT_FILE, {}, None, 0.0, spec.overrides, copy)
    try:
        return _from_file(path, copy, spec.overrides)
    except SettingsError as error:
        if not copy.is_file():
            raise
        declared = parse(read_file(copy), copy)
        settings, _ = compose(declared, str(copy), spec.overrides)
        return Start(settings, path, declared, None, 0.0, spec.overrides, copy, error.message)


def _from_file(path: Path, copy: Path, overrides: dict[str, Any]) -> Start:
    stamp = stamp_of(path)
    text = read_file(path)
    declared = parse(text, path)
    settings, _ = compose(declared, str(path), overrides)
    keep(text, copy)
    changed_at = 0.0 if stamp is None else stamp[0] / 1e9
    return Start(settings, path, declared, stamp, changed_at, overrides, copy)


def stamp_of(path: Path) -> Stamp | None:
    """What tells one state of a file from another: time of change in nanoseconds, size, inode. None: no file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def keep(text: str, copy: Path) -> None:
    """Replace the copy, for its owner only, as a whole. Without it nothing is lost but a way out."""
    draft = copy.with_name(f"{copy.name}.{new_ulid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(copy)
    except OSError:
        draft.unlink(missing_ok=True)
