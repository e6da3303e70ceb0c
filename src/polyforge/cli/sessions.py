"""Sessions that `polyforge login` began, one per gateway, in a file that only its owner may read."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from polyforge.cli.client import SignedIn
from polyforge.cli.errors import CommandError


def path_of(environ: Mapping[str, str] = os.environ) -> Path:
    """Where they are kept (https://specifications.freedesktop.org/basedir-spec/)."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "polyforge" / "credentials.json"


def find(url: str, path: Path | None = None) -> SignedIn | None:
    """The session at a gateway, if there is one."""
    kept = _read(path or path_of()).get(_name(url))
    return SignedIn(**cast(dict[str, str], kept)) if isinstance(kept, dict) else None


def keep(url: str, session: SignedIn, path: Path | None = None) -> None:
    """Keep a session for later commands, in place of an earlier one."""
    path = path or path_of()
    fields = {"email": session.email, "cookie": session.cookie, "csrf": session.csrf}
    _write(path, {**_read(path), _name(url): fields})


def forget(url: str, path: Path | None = None) -> None:
    """Keep the session at a gateway no longer."""
    path = path or path_of()
    kept = _read(path)
    if kept.pop(_name(url), None) is not None:
        _write(path, kept)


def _name(url: str) -> str:
    return url.rstrip("/").lower()


def _read(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read {path}: {error}; remove it and run `polyforge login`") from error
    return cast(dict[str, Any], content) if isinstance(content, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the file as a whole, mode 0600."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
        Path(draft).replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
