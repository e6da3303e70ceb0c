"""The bootstrap admin key: given in the settings, or made once and kept in the data folder. Needs no database."""

import os
from pathlib import Path

import msgspec

from polyforge.kernel.errors import SettingsError
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.references import SecretRef
from polyforge.tenancy.keys import Secret, check_admin_key, new_secret, secret_of

ADMIN_FILE = "admin.key"


class AdminKey(msgspec.Struct, frozen=True):
    """The bootstrap admin key and where it came from."""

    secret: Secret
    created: bool
    """Whether it was made just now: then its owner has not seen it yet."""


def admin_key(given: SecretRef | None, data: Path) -> AdminKey:
    """The admin key that was given, else the one kept in the data folder, made there when missing.

    SettingsError when the key is too short or its file cannot be used. Several machines on one database must be given
    the same key: the latest to start decides.
    """
    if given is not None:
        return AdminKey(secret_of(check_admin_key(given.reveal())), created=False)
    path = data / ADMIN_FILE
    try:
        created = not path.exists() and _create(path, new_secret().value)
        return AdminKey(secret_of(check_admin_key(path.read_text().strip())), created=created)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"admin_key: cannot use {path}: {error}") from error


def _create(path: Path, value: str) -> bool:
    """Write the file whole or not at all; False when somebody else was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{new_ulid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{value}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
