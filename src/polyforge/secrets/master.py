"""Where the master key comes from: a setting, a command such as a KMS or Vault client, or a file in the data folder."""

import base64
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from polyforge.kernel.errors import SettingsError
from polyforge.secrets.files import create_private
from polyforge.secrets.references import SecretRef
from polyforge.secrets.sealing import KEY_BYTES, MasterKeys
from polyforge.secrets.settings import SecretsSettings

MASTER_FILE: Final = "master.key"
_OUTPUT_BYTES: Final = 4096


def load_master_keys(settings: SecretsSettings, data: Path, *, patience: float = 30.0) -> MasterKeys:
    """The master keys of these settings; SettingsError when one cannot be had.

    A command gets `patience` seconds. Several machines on one database must be given the same key.
    """
    keys = [_current(settings, data, patience)]
    keys += [_reveal(ref, "secrets.previous_master_keys") for ref in settings.previous_master_keys]
    return MasterKeys(keys)


def new_master_key() -> str:
    """A fresh key, as `secrets.master_key` takes it."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def _current(settings: SecretsSettings, data: Path, patience: float) -> bytes:
    if settings.master_key is not None:
        return _reveal(settings.master_key, "secrets.master_key")
    if settings.master_command is not None:
        return _decode(_run(settings.master_command, patience), "secrets.master_command")
    path = data / MASTER_FILE
    try:
        if not path.exists():
            create_private(path, new_master_key())
    except OSError as error:
        raise SettingsError(f"secrets.master_key: cannot make {path}: {error.strerror}") from error
    return _reveal(SecretRef(f"file:{path}"), "secrets.master_key")


def _reveal(ref: SecretRef, where: str) -> bytes:
    try:
        text = ref.reveal(private=True)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.message}") from error
    return _decode(text, where)


def _run(command: Sequence[str], patience: float) -> str:
    """What the command prints. Its output is a secret, so no error repeats it."""
    where = f"secrets.master_command: {command[0]}"
    try:
        output, status = _output_of(command, patience)
    except OSError as error:
        raise SettingsError(f"{where}: {error.strerror}") from error
    if status == -signal.SIGKILL:
        raise SettingsError(f"{where} was killed; it may take {patience:g} seconds")
    if status:
        raise SettingsError(f"{where} ended with status {status}")
    return output.decode("ascii", "replace")


def _output_of(command: Sequence[str], patience: float) -> tuple[bytes, int]:
    """The beginning of what a program prints, and its status; after `patience` seconds it is killed."""
    with subprocess.Popen(  # noqa: S603 - the operator chose the program
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        # The whole session, because a child of the program may hold the pipe open.
        alarm = threading.Timer(patience, os.killpg, (process.pid, signal.SIGKILL))
        alarm.start()
        try:
            output = process.stdout.read(_OUTPUT_BYTES)
            process.stdout.close()
            return output, process.wait()
        finally:
            alarm.cancel()


def _decode(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise SettingsError(f"{where}: is not base64") from error
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{where}: holds {len(key)} bytes instead of {KEY_BYTES}; `polyforge secret new-master` makes one"
        )
    return key
