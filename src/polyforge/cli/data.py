"""The data folder, as commands make it."""

from pathlib import Path

from polyforge.cli.errors import CommandError


def make_folder(path: Path) -> Path:
    """The data folder, made if it is not there, for this user only; its absolute path."""
    folder = path.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the data folder {folder}: {error.strerror}") from error
    return folder
