"""What starts and works, and is still not how an installation should be."""

import asyncio
from collections.abc import Iterator

from polyforge.cli.client import is_loopback
from polyforge.database.database import Database
from polyforge.database.walls import Binding, binding_of
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.serving.sources import model_sources
from polyforge.wiring.engines import engine_for
from polyforge.wiring.settings import Settings

_ORDINARY = "connect as an ordinary role that owns the database, as docs/how-to/postgresql.md shows"


def caveats_of(settings: Settings) -> list[str]:
    """A line for each, beginning with the path of a setting; asks PostgreSQL, where that is the database."""
    found = (_of_links(settings), _of_walls(settings), *_of_models(settings))
    return [line for line in found if line is not None]


def _of_models(settings: Settings) -> Iterator[str]:
    """The local models that would not be served, as far as their folders tell without being loaded."""
    for source in model_sources(settings.models):
        try:
            engine_for(source.folder, source.hints, source.name)
        except PolyforgeError as error:
            yield f"models.{source.name}: {error.message}"


def _of_links(settings: Settings) -> str | None:
    server = settings.server
    if settings.people.public_url is not None or (is_loopback(server.host) and not server.behind_proxy):
        return None
    return (
        f"people.public_url: it is not set, so links in e-mails and the issuer of tokens name {server.host}, where "
        "people may not reach this installation; set it to the address that they use"
    )


def _of_walls(settings: Settings) -> str | None:
    if settings.database.dialect == "sqlite":
        return None
    try:
        binding = asyncio.run(_ask(Database(settings.database, settings.data)))
    except Unavailable:
        return "database.url: the database does not answer, so whether row-level security binds its role is not known"
    return None if binding is None else of_binding(binding)


async def _ask(database: Database) -> Binding | None:
    await database.open()
    try:
        return await binding_of(database)
    finally:
        await database.close()


def of_binding(binding: Binding) -> str | None:
    """What to do about a role that PostgreSQL does not keep inside one tenant; None when it does."""
    if binding.superuser or binding.bypasses:
        power = "is a superuser" if binding.superuser else "has BYPASSRLS"
        return f"database.url: the role {binding.role!r} {power}, so row-level security does not bind it; {_ORDINARY}"
    if binding.open_tables:
        tables = ", ".join(binding.open_tables)
        return (
            f"database.url: row-level security does not bind the role {binding.role!r} in {tables}; "
            "run ALTER TABLE ... FORCE ROW LEVEL SECURITY on each"
        )
    return None
