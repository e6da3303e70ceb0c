"""What builds the package: flit's backend, which first sees to it that a wheel carries the console.

An editable install does not: the console may come later. Building it is not done here, because it takes Node and npm's
registry, which whoever installs a package does not expect.
"""

from typing import Any

import build_console
from flit_core import buildapi
from flit_core.buildapi import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """A wheel with the console in it."""
    require_console()
    return str(buildapi.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """The sources, with the console as it was built: who has them alone cannot build it."""
    require_console()
    return str(buildapi.build_sdist(sdist_directory, config_settings))


def require_console() -> None:
    """Ends the build when the console is missing or older than its sources."""
    places = build_console.Places(build_console.ROOT)
    if why := build_console.why_needed(places):
        raise SystemExit(f"the package must carry the console, and {why}: run `make console` first")
    places.state.unlink(missing_ok=True)
