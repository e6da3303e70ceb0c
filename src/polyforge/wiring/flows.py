"""Flows as a process sees them: what keeps them, and the types of nodes that they are made of."""

from polyforge.database.database import Database
from polyforge.flows.built_in import built_in
from polyforge.flows.gallery.service import TemplateService
from polyforge.flows.keeping.changing import Tools
from polyforge.flows.keeping.contents import Desk
from polyforge.flows.keeping.drafts import Drafts
from polyforge.flows.keeping.importing import Importing
from polyforge.flows.keeping.pointing import Aliases
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.keeping.versions import Versions
from polyforge.flows.publishing.service import PublishingService
from polyforge.kernel.clock import Clock
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.wiring.settings import Settings


class FlowPlatform:
    """The rooms of flows."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, recorder: Recorder) -> None:
        self.types = built_in(code=settings.flows.code)
        tools = Tools(database, clock, recorder, Desk(self.types))
        self.flows = FlowService(tools)
        self.drafts = Drafts(tools)
        self.versions = Versions(tools, self.flows)
        self.aliases = Aliases(tools)
        self.importing = Importing(tools, self.flows)
        self.publishing = PublishingService(tools, self.flows)
        self.templates = TemplateService(self.flows, self.drafts)
