"""The process that brings the database up to date.

`python -m polyforge.wiring.migrate '{"config": path or null, "overrides": {...}}'`
Separate and short-lived, so that Alembic stays out of the processes that serve.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from polyforge.database import counting
from polyforge.database.events import tables as events
from polyforge.database.metadata import metadata
from polyforge.database.migrating import upgrade
from polyforge.database.schema import EXIT_SETTINGS, EXIT_UNAVAILABLE
from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.operations.configuration import tables as configuration
from polyforge.operations.flags import tables as flags
from polyforge.tenancy import tables as tenancy
from polyforge.tenancy.audit import tables as audit
from polyforge.tenancy.people import tables as people
from polyforge.tenancy.vault import tables as vault
from polyforge.wiring.settings import Settings, load

ROOMS = (counting, events, tenancy, audit, people, vault, configuration, flags)
"""The modules whose import declares tables; together they make the metadata complete."""


async def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the database of `settings` up to date; from which revision (None: it was empty) to which."""
    return await upgrade(settings.database, settings.data, metadata)


def main() -> int:
    """Migrate the database of the settings in the first argument (JSON); the exit status says what went wrong."""
    process: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    config = process.get("config")
    try:
        settings, _ = load(Path(config) if config else None, process.get("overrides"))
        asyncio.run(migrate(settings))
    except SettingsError as error:
        return _fail(error.message, EXIT_SETTINGS)
    except Unavailable as error:
        return _fail(error.message, EXIT_UNAVAILABLE)
    return 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
