"""One try of one node: what it is given, and what it says and spends meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from polyforge.flows.document import Json
from polyforge.flows.plan import Path
from polyforge.flows.running.ceilings import Ceiling
from polyforge.flows.running.contract import Facilities, Level
from polyforge.flows.running.notes import RunNotes
from polyforge.flows.running.records import Decision, NodeFailed, Question, RunError, Site
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.money import Micros, to_usd
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.deposits import Deposit

CurrentCaller = Callable[[], Awaitable[Caller]]
"""Who the run acts for, as they stand now; Denied once they may not act any more."""


class Money:
    """What a run has spent, `before` in earlier attempts, and what it may spend, which its `ceiling` holds."""

    def __init__(self, most: Micros | None, before: Micros = 0, ceiling: Ceiling | None = None) -> None:
        self._most = most
        self._before = before
        """Of what was spent before, what no step accounted for yet."""
        self._ceiling = None if most is None else ceiling
        self.spent: Micros = before

    @property
    def deposit(self) -> Deposit | None:
        """What calls of its nodes draw on."""
        return None if self._ceiling is None else self._ceiling.deposit

    async def begin(self) -> None:
        """Have what may still be spent held; NodeFailed, which nothing deals with, where there is no room."""
        if self._ceiling is not None and self._most is not None:
            await self._ceiling.begin(self._most - self.spent)

    def spend(self, micros: Micros) -> None:
        """So much more was spent."""
        self.spent += max(0, micros)
        if self._ceiling is not None and self._most is not None:
            self._ceiling.keep_to(self._most - self.spent)

    def account(self, micros: Micros) -> None:
        """A step that an earlier attempt completed cost so much, which counts once."""
        known = min(self._before, max(0, micros))
        self._before -= known
        self.spend(micros - known)

    def check(self, node: str, path: str) -> None:
        """NodeFailed, which nothing deals with, where no node may begin any more."""
        if self._most is None or self.spent < self._most:
            return
        message = f"the run has cost {to_usd(self.spent):.6f} USD, and may cost {to_usd(self._most):.6f} USD"
        hint = "run it again with a higher `max_cost_usd`; a rerun takes over what was done"
        raise NodeFailed(RunError("cost_limit_reached", message, node, path, hint), fatal=True)


class Approvals(Protocol):
    """Where people are asked."""

    async def ask(self, site: Site, question: Question) -> str:
        """Have something decided; the id of the approval, the same where it was asked already."""
        ...

    async def close(self, site: Site, approval_id: str) -> Decision:
        """What came of it; nobody can decide any more."""
        ...


class Values(Protocol):
    """Where outputs lie that are too long to be kept with their step."""

    async def keep(self, site: Site, data: bytes) -> str:
        """Keep bytes; what they lie under, which follows from them."""
        ...

    async def load(self, site: Site, name: str) -> bytes:
        """The bytes; NotFound when they are gone."""
        ...


class Results(Protocol):
    """Results of nodes for later runs."""

    async def find(self, caller: Caller, key: str) -> dict[str, Json] | None:
        """The outputs that are kept under a key."""
        ...

    async def keep(self, caller: Caller, key: str, outputs: Mapping[str, Json]) -> None:
        """Keep outputs."""
        ...


class Here(msgspec.Struct, frozen=True):
    """Which node it is, as people see it: with the sub-flows around it."""

    node: str
    path: str


class Call:
    """What a node's function is given."""

    def __init__(
        self,
        site: Site,
        here: Here,
        path: Path,
        params: Mapping[str, Json],
        inputs: Mapping[str, Json],
        caller: Caller,
        key: str,
        facilities: Facilities,
        notes: RunNotes,
        money: Money,
    ) -> None:
        self.run_id = site.run_id
        self.flow_id = site.flow_id
        self.node = here.node
        self.path = path
        self.params = params
        self.inputs = inputs
        self.caller = caller
        self.idempotency_key = key
        self.facilities = facilities
        self.spent: Micros = 0
        self._here = here
        self._notes = notes
        self._money = money

    def token(self, text: str) -> None:
        """Tell a piece of text as it is made."""
        self._notes.token(self._here.node, self._here.path, text)

    def log(self, level: Level, text: str) -> None:
        """Add a line to the log of the run."""
        self._notes.event("node.log", self._here.node, self._here.path, level=level, text=text[:2_000])

    def cost(self, micros: Micros) -> None:
        """Say what was spent."""
        self.spent += max(0, micros)
        self._money.spend(micros)


def failure_of(error: Exception, here: Here) -> RunError:
    """What is told of an error in a node; of one that is not ours, nothing but that there was one."""
    if isinstance(error, PolyforgeError):
        return RunError.of(error, here.node, here.path)
    hint = "look into the log of the worker, or ask who looks after this installation"
    return RunError("internal_error", "the node failed unexpectedly", here.node, here.path, hint)


def error_outputs(error: RunError) -> dict[str, Any]:
    """What the output `error` of a node gives."""
    return {"error": {"code": error.code, "message": error.message}}
