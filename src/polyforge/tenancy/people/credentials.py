"""What services that take passwords, codes and links have in common."""

from typing import NamedTuple

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.people.attempts import Attempts
from polyforge.tenancy.people.passwords import Passwords
from polyforge.tenancy.people.sessions import Sessions


class CredentialTools(NamedTuple):
    """What such a service works with."""

    database: Database
    clock: Clock
    recorder: Recorder
    sessions: Sessions
    attempts: Attempts
    passwords: Passwords


class CredentialService:
    """A service that checks credentials, limits how often they are tried, and tells the audit log."""

    def __init__(self, tools: CredentialTools) -> None:
        self._database = tools.database
        self._clock = tools.clock
        self._recorder = tools.recorder
        self._sessions = tools.sessions
        self._attempts = tools.attempts
        self._passwords = tools.passwords
