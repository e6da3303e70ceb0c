"""References to secrets in settings: `env:NAME`, `file:/path`; a literal is accepted and never shown."""

import os
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from polyforge.kernel.errors import SettingsError


class SecretRef:
    """Where a secret lies. `reveal()` reads it; `str()` shows the reference, and stars for a literal."""

    def __init__(self, reference: str) -> None:
        self._reference = reference

    def reveal(self) -> str:
        """The secret itself; SettingsError when there is none at that place."""
        scheme, _, rest = self._reference.partition(":")
        if scheme == "env":
            return self._from_environment(rest)
        if scheme == "file":
            return self._from_file(Path(rest))
        return self._reference

    def _from_environment(self, name: str) -> str:
        value = os.environ.get(name)
        if not value:
            raise SettingsError(f"the environment variable {name} is not set; export it, or point `env:` elsewhere")
        return value

    def _from_file(self, path: Path) -> str:
        try:
            return path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"cannot read the secret file {path}: {error.strerror}") from error

    def __str__(self) -> str:
        return self._reference if self._reference.startswith(("env:", "file:")) else "********"

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
