"""What runs were given, made and were told, and what they keep, is sealed value by value with the master key.

Each value is bound to its row and its place there. What was written before runs were sealed is JSON as it is, and read.
"""

from typing import Final, Literal

from polyforge.database.scopes import Scope
from polyforge.flows.running.tables import flow_approvals, flow_results, flow_run_events, flow_runs
from polyforge.kernel.errors import Unavailable
from polyforge.secrets.sealed_text import open_text, seal_text
from polyforge.secrets.sealing import MasterKeys, Unsealable
from polyforge.tenancy.vault.sealing import SealedColumn

Kind = Literal["flow run", "flow event", "approval", "flow result"]
OF_RUNS: Final = ("inputs", "outputs", "trigger_outputs")
OF_APPROVALS: Final = ("shown", "answers")
OF_EVENTS: Final = "payload"
OF_RESULTS: Final = "outputs"


class Seals:
    """Seals and opens what belongs to runs."""

    def __init__(self, master: MasterKeys) -> None:
        self._master = master

    def seal(self, scope: Scope, kind: Kind, id_: str, column: str, text: str) -> str:
        """A text as it is kept in a column of a row."""
        return seal_text(self._master, text, _bound(scope, kind, id_, column))

    def open(self, scope: Scope, kind: Kind, id_: str, column: str, text: str) -> str:
        """A text as it was; Unavailable when it cannot be had."""
        try:
            return open_text(self._master, text, _bound(scope, kind, id_, column))
        except Unsealable as error:
            raise Unavailable(f"what the {kind} {id_} holds cannot be opened: {error}") from error


def event_id(run_id: str, seq: int) -> str:
    """What an event is called where it is sealed."""
    return f"{run_id}/{seq}"


def _bound(scope: Scope, kind: Kind, id_: str, column: str) -> str:
    return f"{kind}/{scope.organization_id}/{scope.project_id}/{id_}/{column}"


def _belongs_to(kind: Kind, id_: str, column: str) -> str:
    return f"{kind}/{{organization_id}}/{{project_id}}/{id_}/{column}"


SEALED: Final = (
    *(SealedColumn(flow_runs, name, _belongs_to("flow run", "{id}", name), rows=20, text=True) for name in OF_RUNS),
    *(
        SealedColumn(flow_approvals, name, _belongs_to("approval", "{id}", name), rows=50, text=True)
        for name in OF_APPROVALS
    ),
    SealedColumn(
        flow_run_events,
        OF_EVENTS,
        _belongs_to("flow event", "{run_id}/{seq}", OF_EVENTS),
        key=("run_id", "seq"),
        text=True,
    ),
    SealedColumn(flow_results, OF_RESULTS, _belongs_to("flow result", "{id}", OF_RESULTS), rows=20, text=True),
)
"""The columns of sealed values."""
