"""`polyforge up`: read the settings, then become the supervisor."""

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from polyforge.cli.data import make_folder
from polyforge.cli.exposure import refuse_exposure
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import Config, Data, overrides_of
from polyforge.supervisor.spec import MODULES, VARIABLE, SupervisorSpec
from polyforge.tenancy.admin_key import ADMIN_FILE, admin_key
from polyforge.wiring.listening import token_of
from polyforge.wiring.settings import Settings, load

app = plain_app()


class Role(StrEnum):
    """What this machine may run."""

    ALL = "all"
    GATEWAY = "gateway"
    MODELS = "models"
    WORKER = "worker"


@app.command()
def up(
    config: Config = None,
    data: Data = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one. [default: 8080]")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway processes. [default: by the number of cores]")] = None,
    role: Annotated[list[Role] | None, typer.Option(help="What to run here; may be repeated. [default: all]")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front ends TLS; allows other addresses than loopback.")
    ] = False,
) -> None:
    """Start the gateway, the model host and the worker, and keep them running until SIGTERM or Ctrl-C."""
    overrides = overrides_of(data, host=host, port=port, workers=workers, behind_proxy=behind_proxy or None)
    settings, _ = load(config, overrides)
    roles = roles_of(role or [Role.ALL])
    refuse_exposure(settings.server)
    if roles == [Role.MODELS]:
        token_of(settings)
    folder = make_folder(settings.data)
    spec = SupervisorSpec(
        data=str(folder),
        started=process_start(),
        roles=roles,
        host=settings.server.host,
        port=settings.server.port,
        workers=settings.server.worker_count(),
        tls=settings.server.tls is not None,
        config=str(config.absolute()) if config else None,
        overrides={**overrides, "data": str(folder)},
        drain_seconds=settings.server.drain_seconds,
    )
    if "gateway" in roles:
        show_new_admin_key(settings, folder)
    become_supervisor(spec)


def roles_of(chosen: list[Role]) -> list[str]:
    """The roles to run, without `all`."""
    return [role for role in MODULES if Role.ALL in chosen or role in chosen]


def process_start() -> float:
    """When this process began, on the monotonic clock: before Python was loaded, where the system tells."""
    now = time.monotonic()
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return now - time.process_time()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return now - age


def show_new_admin_key(settings: Settings, folder: Path) -> None:
    """Make the admin key at the first start, and print it that once; SettingsError when a given one is no good."""
    key = admin_key(settings.admin_key, folder)
    if key.created:
        typer.echo(f"admin key {key.secret.value} (kept in {folder / ADMIN_FILE})")


def become_supervisor(spec: SupervisorSpec) -> NoReturn:
    """Replace this process, so that what reading the settings took is given back."""
    sys.stdout.flush()
    sys.stderr.flush()
    environ = {**os.environ, VARIABLE: spec.to_json()}
    command = [sys.executable, "-P", "-X", "frozen_modules=on", "-m", "polyforge.supervisor"]
    os.execve(sys.executable, command, environ)  # noqa: S606 - replaces this process; nothing in it comes from outside
