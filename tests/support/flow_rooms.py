"""The services that keep flows, over a database of a test, and flows to keep."""

from typing import Any

from polyforge.database.database import Database
from polyforge.flows.built_in import built_in
from polyforge.flows.keeping.changing import Tools
from polyforge.flows.keeping.contents import Desk
from polyforge.flows.keeping.drafts import Drafts
from polyforge.flows.keeping.pointing import Aliases
from polyforge.flows.keeping.records import Draft, VersionInfo
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.keeping.versions import Versions
from polyforge.kernel.clock import FakeClock
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from tests.support.flows import flow, loaded, node
from tests.support.recording import recorder
from tests.unit.tenancy.samples import NOW

KEY_ID = "0000000000000000000000000K"


class FlowRooms:
    """Everything that keeps flows."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = FakeClock(NOW)
        self.tools = Tools(database, self.clock, recorder(self.clock), Desk(built_in()))
        self.flows = FlowService(self.tools)
        self.drafts = Drafts(self.tools)
        self.versions = Versions(self.tools, self.flows)
        self.aliases = Aliases(self.tools)

    async def create(self, text: str = "one", title: str = "Echo", **more: Any) -> Draft:
        """A flow that gives out a text."""
        self.clock.advance(1)
        return await self.flows.create(caller(), document=loaded(saying(text, title)), **more)

    async def commit(self, name: str, text: str, message: str = "") -> VersionInfo:
        """A version that gives out a text."""
        self.clock.advance(1)
        await self.drafts.save(caller(), name, loaded(saying(text)), None)
        return (await self.drafts.commit(caller(), name, message, None)).info


def caller(project_id: str = DEFAULT_PROJECT_ID) -> Caller:
    """A key that may do everything in a project."""
    return Caller(KEY_ID, "tests", DEFAULT_ORGANIZATION_ID, project_id, frozenset({ALL}))


def saying(text: str, title: str = "Echo", **ui: Any) -> dict[str, Any]:
    """A flow that gives out a text, with nothing wrong in it."""
    nodes = {
        "say": node("prompt.template", {"template": text}),
        "out": node("flow.output", {"name": "text"}, value=("say", "text")),
    }
    return flow(nodes, interface={"outputs": {"text": {"type": "text"}}}, ui=ui) | {"name": title}


def broken() -> dict[str, Any]:
    """A flow that can be read and kept, and does not run: its output is linked to nothing that there is."""
    whole = saying("one")
    whole["nodes"]["out"]["in"]["value"]["from"] = ["gone", "text"]
    return whole
