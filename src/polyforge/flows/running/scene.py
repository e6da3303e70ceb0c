"""What a run is run with, what is to be run, and where in it something is."""

from collections.abc import Callable, Mapping

import msgspec

from polyforge.flows.document import Json
from polyforge.flows.nodetypes import NodeTypes
from polyforge.flows.plan import Plan
from polyforge.flows.running.calls import Approvals, Here, Results, Values
from polyforge.flows.running.contract import Facilities, Runners
from polyforge.flows.running.frames import Done, Frame
from polyforge.flows.running.records import Site, Trigger
from polyforge.kernel.clock import Clock


class Tools(msgspec.Struct, frozen=True):
    """What runs are run with."""

    types: NodeTypes
    runners: Runners
    facilities: Facilities
    approvals: Approvals
    values: Values
    results: Results
    clock: Clock
    at_once: int = 16
    """Steps of one run that go on at the same time."""
    backoff: float = 1.0
    """Seconds before the second try of a node."""
    seen: Callable[[str, float], None] = lambda kind, seconds: None
    """Told how long each node took, by its type."""


class Order(msgspec.Struct, frozen=True):
    """What is to be run."""

    site: Site
    plans: Mapping[str, Plan]
    """The plan of each version that takes part, sub-flows included."""
    pinned: Mapping[str, Mapping[str, tuple[str, str]]]
    version: str
    inputs: Mapping[str, Json]
    trigger: Trigger
    taken: Mapping[str, Done]
    """Results of an earlier run that count, by the names of their steps."""
    parent: Site | None = None
    """That run."""


class Scene(msgspec.Struct, frozen=True):
    """A plan as it is run in one place: as the run itself, or as a node of another flow."""

    plan: Plan
    inputs: Mapping[str, Json]
    outputs: dict[str, Json]
    top: bool = True
    prefix: str = ""
    """What the names of its steps begin with."""
    label: str = ""
    path: str = ""

    def here(self, part: str, frame: Frame) -> Here:
        """Where a part is, as people see it."""
        return Here(f"{self.label}{part}", f"{self.path}{','.join(map(str, frame.path))}")
