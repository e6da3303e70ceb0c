"""`polyforge check`: what would run, without running it."""

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from polyforge.cli.adapters import Adapter, all_adapters, reveal, reveal_all, settings_of
from polyforge.cli.caveats import caveats_of
from polyforge.cli.effective import Setting, effective, to_text
from polyforge.cli.exposure import refuse_exposure
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import Config, Data, Json, overrides_of
from polyforge.cli.output import print_json, print_table
from polyforge.serving.sources import model_sources
from polyforge.wiring.settings import Chosen, Settings, load

app = plain_app()


@app.command()
def check(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Show the effective settings and where each comes from; status 2 names a wrong one. Secrets are not shown.

    Warns of what works and is not safe.
    """
    settings, origins = load(config, overrides_of(data))
    in_force = effective(examine(settings), origins)
    adapters = all_adapters()
    caveats = caveats_of(settings)
    if as_json:
        print_json(as_document(in_force, adapters, caveats))
        return
    print_table(["setting", "value", "origin"], [(path, to_text(value), origin) for path, value, origin in in_force])
    typer.echo()
    print_table(
        ["port", "adapter", "state"], [(port, name, trouble or "available") for port, name, trouble in adapters]
    )
    for line in caveats:
        typer.echo(f"polyforge: warning: {line}", err=True)


def examine(settings: Settings) -> dict[str, Any]:
    """All settings as plain data, those of adapters with their defaults; SettingsError names what would not start."""
    refuse_exposure(settings.server)
    if settings.admin_key:
        reveal("admin_key", settings.admin_key)
    model_sources(settings.models)
    tree = settings.model_dump(mode="json")
    for port, path, chosen in _chosen(settings):
        own = settings_of(port, ".".join(path), chosen)
        section: Any = tree
        for name in path[:-1]:
            section = section[name]
        section[path[-1]] = {"use": chosen.use, **own.model_dump(mode="json")}
    for name, store in settings.batches.stores.items():
        chosen = Chosen(use=store.use, **(store.model_extra or {}))
        own = settings_of("data_stores", f"batches.stores.{name}", chosen)
        tree["batches"]["stores"][name].update(own.model_dump(mode="json"))
    own = settings_of("caches", "cache", settings.cache)
    tree["cache"].update(own.model_dump(mode="json"))
    for name, provider in settings.people.identity_providers.items():
        reveal_all(f"people.identity_providers.{name}", provider)
    return tree


def _chosen(settings: Settings) -> Iterator[tuple[str, tuple[str, ...], Chosen]]:
    """Each choice of an adapter, with its port and where it stands, that is nothing but a choice."""
    sections: list[tuple[str, tuple[str, ...], Mapping[str, Chosen]]] = [
        ("providers", ("providers",), settings.providers),
        ("audit_sinks", ("audit", "exports"), settings.audit.exports),
        ("request_log_sinks", ("logs", "exports"), settings.logs.exports),
        ("model_sources", ("model_sources",), settings.model_sources),
    ]
    for port, path, named in sections:
        for name, chosen in named.items():
            yield port, (*path, name), chosen
    yield "objects", ("objects",), settings.objects
    yield "notifiers", ("people", "notifier"), settings.people.notifier
    if settings.prices is not None:
        yield "price_catalogs", ("prices",), settings.prices
    if settings.shared_limits is not None:
        yield "lease_stores", ("shared_limits",), settings.shared_limits


def as_document(in_force: list[Setting], adapters: list[Adapter], caveats: list[str]) -> dict[str, Any]:
    """The same for programs."""
    ports: dict[str, dict[str, Any]] = {}
    for port, name, problem in adapters:
        ports.setdefault(port, {})[name] = {"available": problem is None, "problem": problem}
    settings = {path: {"value": value, "origin": origin} for path, value, origin in in_force}
    return {"settings": settings, "adapters": ports, "warnings": caveats}
