"""`polyforge migrate`: the database alone."""

import asyncio

import typer

from polyforge.cli.data import make_folder
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import Config, Data, overrides_of
from polyforge.wiring import migrate as migration
from polyforge.wiring.settings import load

app = plain_app()


@app.command()
def migrate(config: Config = None, data: Data = None) -> None:
    """Bring the database up to date. `polyforge up` does this too; this is for doing it before, or elsewhere."""
    settings, _ = load(config, overrides_of(data))
    make_folder(settings.data)
    before, after = asyncio.run(migration.migrate(settings))
    if before == after:
        typer.echo(f"the database is up to date ({after})")
    else:
        typer.echo(f"the database went from {before or 'empty'} to {after}")
