"""Whether a call to a webhook comes from who knows its secret, and what becomes of those who call without.

Who calls wrongly too often from an address is told to wait, and costs no more than a look at what is remembered. A call
that is right is taken all the same: nobody can lock out a sender, not even from the address that it calls from itself.
"""

import asyncio
from collections import OrderedDict
from secrets import token_hex
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.flows.running.contract import SecretReader
from polyforge.flows.triggers.records import FlowTrigger, Kind
from polyforge.flows.triggers.service import is_trigger_id
from polyforge.flows.triggers.signing import Headers, check
from polyforge.flows.triggers.store import SystemTriggers
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Denied, NotFound, RateLimited, Unauthenticated
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.people.attempts import network_of
from polyforge.tenancy.people.paging import not_found

WINDOW_SECONDS: Final = 60.0
MAX_PER_HOOK_AND_ADDRESS: Final = 20
"""Wrong calls in a window, counted by each gateway worker for itself."""
MAX_PER_ADDRESS: Final = 100
REMEMBERED_SECONDS: Final = 5.0
"""How old what is known of a webhook may be when somebody calls who called wrongly too often."""
MOST_REMEMBERED: Final = 1_000
MOST_COUNTED: Final = 10_000
_LOOKS_AT_ONCE: Final = 2
_MOST_WAITING: Final = 100
_WEBHOOK: Final[Kind] = "webhook"
_ANY: Final = ""
_log = get_logger(__name__)


class Known(msgspec.Struct, frozen=True):
    """A webhook, and the secret that its calls have to prove."""

    trigger: FlowTrigger
    secret: str


class _Window(msgspec.Struct):
    until: float
    count: int = 0


class WrongCalls:
    """Counts calls that proved nothing, by webhook and address and by address alone. Refused ones do not count."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def pause(self, hook: str, network: str) -> float | None:
        """How long whoever calls from there has to wait; None: not at all."""
        limits = (((hook, network), MAX_PER_HOOK_AND_ADDRESS), ((_ANY, network), MAX_PER_ADDRESS))
        reached = [self._windows[place].until for place, most in limits if self._count(place) >= most]
        return max(1.0, max(reached) - self._clock.monotonic()) if reached else None

    def add(self, hook: str, network: str) -> None:
        """One more."""
        for place in ((hook, network), (_ANY, network)):
            if self._count(place) == 0:
                self._windows[place] = _Window(self._clock.monotonic() + WINDOW_SECONDS)
            self._windows[place].count += 1
            self._windows.move_to_end(place)
        while len(self._windows) > MOST_COUNTED:
            self._windows.popitem(last=False)

    def _count(self, place: tuple[str, str]) -> int:
        window = self._windows.get(place)
        return 0 if window is None or window.until <= self._clock.monotonic() else window.count


class Proofs:
    """Asks calls for their proof."""

    def __init__(self, database: Database, clock: Clock, secrets: SecretReader) -> None:
        self._database = database
        self._clock = clock
        self._secrets = secrets
        self._wrong = WrongCalls(clock)
        self._remembered: OrderedDict[str, tuple[float, Known | None]] = OrderedDict()
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._waiting = 0

    async def check(
        self, trigger_id: str, headers: Headers, body: bytes, address: str
    ) -> tuple[FlowTrigger, str | None]:
        """The webhook and the id of the delivery, which may have none.

        NotFound for what is no webhook, Unauthenticated without the proof, or RateLimited for either after too many.
        """
        network = network_of(address)
        if (pause := self._wrong.pause(trigger_id, network)) is not None:
            await self._check_again(trigger_id, headers, body, pause)
        try:
            known = await self._known(trigger_id)
            return known.trigger, self._delivery(known, headers, body)
        except (NotFound, Unauthenticated):
            self._wrong.add(trigger_id, network)
            raise

    async def _check_again(self, trigger_id: str, headers: Headers, body: bytes, pause: float) -> None:
        """A call from where too many were wrong."""
        try:
            known = await self._lately_known(trigger_id)
            if known is None:
                raise not_found("webhook", trigger_id)
            self._delivery(known, headers, body)
        except (NotFound, Unauthenticated) as error:
            message = "too many calls from this address were wrong; check the address and the secret before the next"
            raise RateLimited(message, retry_after=pause) from error

    def _delivery(self, known: Known, headers: Headers, body: bytes) -> str | None:
        return check(known.trigger.auth or "signature", known.secret, headers, body, self._clock.now())

    async def _lately_known(self, trigger_id: str) -> Known | None:
        if not is_trigger_id(trigger_id):
            return None
        if self._waiting >= _MOST_WAITING:
            raise RateLimited("too many wrong calls arrive at once; try again", retry_after=1.0)
        self._waiting += 1
        try:
            async with self._looks:
                return await self._recalled(trigger_id)
        finally:
            self._waiting -= 1

    async def _recalled(self, trigger_id: str) -> Known | None:
        now = self._clock.monotonic()
        until, known = self._remembered.get(trigger_id, (now, None))
        if until > now:
            return known
        try:
            known = await self._known(trigger_id)
        except NotFound:
            known = None
        self._remembered[trigger_id] = (now + REMEMBERED_SECONDS, known)
        self._remembered.move_to_end(trigger_id)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return known

    async def _known(self, trigger_id: str) -> Known:
        found = None
        if is_trigger_id(trigger_id):
            async with self._database.read() as session:
                found = await SystemTriggers(session).find(trigger_id)
        if found is None or found.kind != _WEBHOOK:
            raise not_found("webhook", trigger_id)
        return Known(found, await self._secret(found))

    async def _secret(self, trigger: FlowTrigger) -> str:
        """What a delivery must prove to know; one that nobody knows where it is gone."""
        maker = trigger.asked_by.caller(trigger.organization_id, trigger.project_id)
        try:
            return await self._secrets.get(maker, trigger.secret or "")
        except (NotFound, Denied) as error:
            _log.warning("a webhook was refused", trigger=trigger.id, reason=error.message)
            return token_hex()
