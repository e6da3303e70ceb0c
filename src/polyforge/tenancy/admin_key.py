"""The bootstrap admin key: given in the settings, or made once and kept in the data folder. Needs no database."""

from pathlib import Path

import msgspec

from polyforge.kernel.errors import SettingsError
from polyforge.secrets.files import create_private
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
        created = not path.exists() and create_private(path, new_secret().value)
        return AdminKey(secret_of(check_admin_key(path.read_text().strip())), created=created)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"admin_key: cannot use {path}: {error}") from error
