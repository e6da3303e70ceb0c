"""The server's application over given routers, in the process of a test: all of it but the inference paths."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import APIRouter

from polyforge.kernel.errors import Unauthenticated
from polyforge.server.app import Application
from polyforge.server.authentication import Authentication
from polyforge.server.console.site import Console
from polyforge.server.management import build_management
from polyforge.server.operations import Operations
from polyforge.server.well_known import WellKnown


class _NoInference:
    endpoints: Mapping[str, Any] = {}


class _NoCaller:
    async def caller(self, scope: object) -> Any:
        """Nobody has a key."""
        raise Unauthenticated("no key works here")


class _NoObserver:
    def managed(self, *_: object) -> None:
        """Nobody counts."""


def application(routers: list[APIRouter], authentication: Authentication, well_known: WellKnown) -> Application:
    """It answers /api and what lies beside it."""
    nothing: Any = _NoInference()
    unseen: Any = _NoObserver()
    operations = Operations(lambda: b"", local_only=True)
    management = build_management(routers)
    console = Console(Path(__file__).parent / "no-console")
    return Application(
        nothing,
        nothing,
        operations,
        management,
        authentication,
        unseen,
        well_known,
        nothing,
        nothing,
        console,
        nothing,
        nothing,
        nothing,
        nothing,
    )


def console_application(console: Console) -> Application:
    """It answers with the console, and knows of nothing else."""
    nothing: Any = _NoInference()
    unseen: Any = _NoObserver()
    refusing: Any = _NoCaller()
    well_known: Any = SimpleNamespace(answers={})
    operations = Operations(lambda: b"", local_only=True)
    management = build_management([])
    return Application(
        nothing,
        nothing,
        operations,
        management,
        refusing,
        unseen,
        well_known,
        nothing,
        nothing,
        console,
        nothing,
        nothing,
        nothing,
        nothing,
    )


def client_of(app: Application, url: str = "http://polyforge.test") -> httpx.AsyncClient:
    """Calls it from 192.0.2.1."""
    transport = httpx.ASGITransport(app, client=("192.0.2.1", 1234))  # pyright: ignore[reportArgumentType]
    return httpx.AsyncClient(transport=transport, base_url=url, follow_redirects=False)
