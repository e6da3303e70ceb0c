"""What the command line asks of the supervisor, as one JSON object in the variable POLYFORGE_SUPERVISOR."""

import json
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, NamedTuple

VARIABLE = "POLYFORGE_SUPERVISOR"
MODULES = {"gateway": "polyforge.server", "models": "polyforge.wiring.models", "worker": "polyforge.wiring.worker"}
"""From the role to the module that plays it."""


class SupervisorSpec(NamedTuple):
    """One `polyforge up`."""

    data: str
    """Absolute path of the data folder; it exists."""
    started: float
    """When the command was typed, on the monotonic clock."""
    roles: Sequence[str] = tuple(MODULES)
    host: str = "127.0.0.1"
    port: int = 8080
    """0 lets the system pick."""
    workers: int = 1
    """Gateway processes."""
    tls: bool = False
    """Whether the gateways speak HTTPS, for the address that is printed."""
    config: str | None = None
    overrides: dict[str, Any] | None = None
    """Settings from the command line, handed on to each process."""
    drain_seconds: float = 30.0
    start_seconds: float = 60.0
    """How long a process may take to get ready."""
    commands: dict[str, list[str]] | None = None
    """Command lines that take the place of a role's module."""

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> "SupervisorSpec":
        """Take the description out of the environment; KeyError when it is not there."""
        fields: dict[str, Any] = json.loads(environ.pop(VARIABLE))
        return cls(**fields)

    @property
    def front(self) -> str | None:
        """The role that listens where the outside calls: gateways, or a model host that runs alone; workers never."""
        if "gateway" in self.roles:
            return "gateway"
        return "models" if "models" in self.roles and "worker" not in self.roles else None

    @property
    def gateways(self) -> int:
        """How many gateway processes there are."""
        return self.workers if "gateway" in self.roles else 0

    def to_json(self) -> str:
        """The value of the variable."""
        return json.dumps(self._asdict())

    def command(self, role: str) -> list[str]:
        """The command line of one process; `-P` keeps files of the current folder from posing as modules."""
        given = (self.commands or {}).get(role)
        python = [sys.executable, "-P", "-X", "frozen_modules=on"]
        return given or [*python, "-m", "polyforge.supervisor.role", MODULES[role]]

    def processes(self) -> list[tuple[str, int]]:
        """The role and number of each process to run."""
        return [
            (role, index)
            for role in MODULES
            if role in self.roles
            for index in range(self.gateways if role == "gateway" else 1)
        ]

    def is_late(self, role: str) -> bool:
        """Whether a role starts only once what the outside calls serves: nobody waits for a worker to be ready."""
        return role == "worker" and self.front is not None
