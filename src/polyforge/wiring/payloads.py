"""What keeps payloads of requests, opens them, and deletes what is somebody's."""

from collections.abc import Callable

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.conversations.service import ConversationService
from polyforge.tenancy.erasing.records import Rooms
from polyforge.tenancy.erasing.service import ErasingService
from polyforge.tenancy.payloads.policy import PayloadPolicy
from polyforge.tenancy.payloads.service import PayloadService
from polyforge.tenancy.payloads.settings import PayloadSettings
from polyforge.tenancy.payloads.writer import PayloadWriter


class PayloadPlatform:
    """The rooms around payloads and saved conversations. `rooms` are those above that know users.

    `dropped` counts payloads left out: too many waited.
    """

    def __init__(
        self,
        settings: PayloadSettings,
        database: Database,
        clock: Clock,
        master: MasterKeys,
        recorder: Recorder,
        rooms: Rooms,
        dropped: Callable[[int], None],
    ) -> None:
        self.policy = PayloadPolicy(settings)
        self.writer = PayloadWriter(settings, database, clock, master, dropped)
        self.service = PayloadService(database, clock, recorder, master)
        self.conversations = ConversationService(database, clock, recorder, master)
        self.erasing = ErasingService(database, recorder, master, rooms)
