"""References to secrets in settings: `env:NAME`, `file:/path`, `secret:name`; a literal is accepted and never shown."""

import os
import re
from pathlib import Path
from typing import Any, Final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from polyforge.kernel.errors import SettingsError
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.files import read_private

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,199}$"
"""What a secret may be called."""
_NAME: Final = re.compile(NAME_PATTERN)
_SCHEMES: Final = ("env:", "file:", "secret:")


def in_environment(name: str) -> str | None:
    """What a provider's own tools read by this name, None where it is not set or empty."""
    return os.environ.get(name) or None


class SecretRef:
    """Where a secret lies. `reveal()` reads it; `str()` shows the reference, and stars for a literal."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ValueError("`secret:` needs a name of a-z, 0-9, `.`, `_` and `-`, at most 200 characters")

    @property
    def name(self) -> str | None:
        """The name of a secret that is kept in the database, None for one that lies elsewhere."""
        scheme, _, rest = self._reference.partition(":")
        return rest if scheme == "secret" else None

    def reveal(self, source: SecretSource | None = None, *, private: bool = False) -> str:
        """The secret itself; SettingsError when there is none at that place.

        `source` is where `secret:name` is asked for, with its errors. With `private`, a file that others may read is
        refused.
        """
        scheme, _, rest = self._reference.partition(":")
        if scheme == "env":
            return self._from_environment(rest)
        if scheme == "file":
            return self._from_file(Path(rest), private)
        if scheme == "secret":
            return self._from_source(rest, source)
        return self._reference

    def _from_environment(self, name: str) -> str:
        value = os.environ.get(name)
        if not value:
            raise SettingsError(f"the environment variable {name} is not set; export it, or point `env:` elsewhere")
        return value

    def _from_file(self, path: Path, private: bool) -> str:
        try:
            return (read_private(path) if private else path.read_text()).strip()
        except OSError as error:
            raise SettingsError(f"cannot read the secret file {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"the secret file {path} is not UTF-8") from error

    def _from_source(self, name: str, source: SecretSource | None) -> str:
        if source is None:
            raise SettingsError(
                f"secret:{name} cannot be used here: this is needed before the database is open; "
                "use `env:NAME` or `file:/path`"
            )
        return source.value(name).reveal().strip()

    def __str__(self) -> str:
        return self._reference if self._reference.startswith(_SCHEMES) else "********"

    def __repr__(self) -> str:
        return f"SecretRef({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretRef) and other._reference == self._reference

    def __hash__(self) -> int:
        return hash(self._reference)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(min_length=1),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )
