"""Where the master key comes from: a setting, a command such as a KMS or Vault client, or a file in the data folder."""

import base64
import binascii
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.kernel.errors import SettingsError
from polyforge.secrets.files import create_private
from polyforge.secrets.references import SecretRef
from polyforge.secrets.sealing import KEY_BYTES, MasterKeys

MASTER_FILE: Final = "master.key"
_COMMAND_SECONDS: Final = 30.0


class SecretsSettings(BaseModel):
    """How secrets are sealed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    master_key: SecretRef | None = Field(
        default=None, description="32 random bytes in base64; default: generated in the data folder."
    )
    master_command: tuple[str, ...] | None = Field(
        default=None,
        description="A program and its arguments that print the master key, such as a KMS or Vault client.",
    )
    previous_master_keys: tuple[SecretRef, ...] = Field(
        default=(), description="Earlier master keys; what they sealed is sealed again in the background."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> "SecretsSettings":
        if self.master_key is not None and self.master_command is not None:
            raise ValueError("give master_key or master_command, not both")
        return self


def load_master_keys(settings: SecretsSettings, data: Path) -> MasterKeys:
    """The master keys of these settings; SettingsError when one cannot be had.

    Several machines on one database must be given the same key.
    """
    keys = [_current(settings, data)]
    keys += [_decode(ref.reveal(), "secrets.previous_master_keys") for ref in settings.previous_master_keys]
    return MasterKeys(keys)


def _current(settings: SecretsSettings, data: Path) -> bytes:
    if settings.master_key is not None:
        return _decode(settings.master_key.reveal(), "secrets.master_key")
    if settings.master_command is not None:
        return _decode(_run(settings.master_command), "secrets.master_command")
    path = data / MASTER_FILE
    try:
        if not path.exists():
            create_private(path, base64.b64encode(os.urandom(KEY_BYTES)).decode())
        return _decode(path.read_text(), f"secrets.master_key: {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"secrets.master_key: cannot use {path}: {error}") from error


def _run(command: Sequence[str]) -> str:
    """What the command prints. Its output is a secret, so no error repeats it."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator chose the program
            command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise SettingsError(f"secrets.master_command: {type(error).__name__}: {command[0]}") from error
    if done.returncode:
        raise SettingsError(f"secrets.master_command: {command[0]} ended with status {done.returncode}")
    return done.stdout


def _decode(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error as error:
        raise SettingsError(f"{where}: is not base64") from error
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{where}: holds {len(key)} bytes instead of {KEY_BYTES}; `openssl rand -base64 32` makes one"
        )
    return key
